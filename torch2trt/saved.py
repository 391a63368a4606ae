"""Saving and loading compiled modules: an engine file that also says how to call it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from .core import GraphModule
from .engine import Engine
from .errors import InputMismatchError, Torch2TrtError
from .inference import TorchInferenceContext
from .program import Input
from .trace import NUMBER, TENSOR, as_number

if TYPE_CHECKING:
    from .module import TensorRTModule


def describe_call(graph: GraphModule, inputs: Sequence[Input]) -> dict[str, Any]:
    """How a program is called, as JSON values: the trees of inputs and outputs, output types.

    Raises:
        Torch2TrtError: inputs or outputs are nested in types of the user's own.
    """
    trace = graph.trace
    try:
        trees = [pytree.treespec_dumps(t) for t in (trace.input_tree, trace.output_tree)]
    except (NotImplementedError, ValueError) as error:
        raise Torch2TrtError(
            f"inputs and outputs must be made of tuples, lists and dicts to be saved: {error}"
        ) from error
    return {
        "call": {
            "input_tree": trees[0],
            "input_leaves": [_leaf(leaf) for leaf in trace.input_leaves],
            "input_names": [i.name for i in inputs],
            "output_tree": trees[1],
            "output_leaves": [_leaf(leaf) for leaf in trace.output_leaves],
            "output_dtypes": [str(v.dtype).removeprefix("torch.") for v in graph.graph.outputs],
        }
    }


def _leaf(leaf: Any) -> dict[str, Any]:
    if leaf is TENSOR:
        return {"tensor": True}
    if leaf is NUMBER:
        return {"tensor": True, "number": True}
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return {"value": leaf}
    raise Torch2TrtError(
        f"got a {type(leaf).__name__} among inputs or outputs, expected tensors"
        " and plain values, to be saved"
    )


class LoadedModule(nn.Module):
    """A compiled module from a file. Called as the module was; it has no weights of its own.

    Attributes:
        engine: the engine.
    """

    def __init__(self, engine: Engine, cuda_graph: bool = False) -> None:
        super().__init__()
        call = engine.extra.get("call")
        if call is None:
            raise Torch2TrtError(
                "the engine file does not say how to call it; use Engine.load and an inference"
                " context"
            )
        self.engine = engine
        self._tree = pytree.treespec_loads(call["input_tree"])
        self._leaves = call["input_leaves"]
        self._output_tree = pytree.treespec_loads(call["output_tree"])
        self._output_leaves = call["output_leaves"]
        self._dtypes = [getattr(torch, name) for name in call["output_dtypes"]]
        self._names = call["input_names"]
        self._run = TorchInferenceContext(engine, cuda_graph=cuda_graph).run
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the engine.

        Raises:
            InputMismatchError: inputs of another structure, shape, dtype or device.
        """
        leaves, tree = pytree.tree_flatten((args, kwargs))
        if tree != self._tree:
            raise InputMismatchError(f"inputs: got {tree}, expected {self._tree}")
        tensors = []
        for position, (leaf, expected) in enumerate(zip(leaves, self._leaves)):
            if "tensor" in expected:
                tensors.append(leaf)
            elif leaf != expected["value"]:
                raise InputMismatchError(
                    f"input {position}: got {leaf!r}, expected {expected['value']!r}, which was"
                    " fixed when the module was saved"
                )
        outputs = self._run(*tensors)
        rest = iter([y if y.dtype == d else y.to(d) for y, d in zip(outputs, self._dtypes)])
        found = [
            o["value"] if "value" in o else as_number(next(rest)) if "number" in o else next(rest)
            for o in self._output_leaves
        ]
        return pytree.tree_unflatten(found, self._output_tree)


def save(module: TensorRTModule, path: str | os.PathLike[str]) -> None:
    """Write the engine that a module used last, with the weights it has, to a file.

    Args:
        module: a ``TensorRTModule`` that has run in eval mode; ``module.build(path, ...)`` needs no
            run before.
        path: the engine file, for ``load``.

    Raises:
        Torch2TrtError: the module has no engine, or is called with types of the user's own.

    Example:
        module = torch2trt.TensorRTModuleWrapper(net).eval()
        y = module(x)
        torch2trt.save(module, "net.engine")
    """
    variant = module.latest_variant()
    call = describe_call(variant.graph, variant.program.inputs)
    variant.program.engine.save(path, call)


def load(
    path: str | os.PathLike[str], device: Any = None, cuda_graph: bool = False
) -> LoadedModule:
    """Load what ``TensorRTModule.save`` or ``TensorRTModule.build`` wrote.

    Neither the Python class of the module nor its weights are needed.

    Args:
        path: the engine file.
        device: a CUDA device, by default the current one.
        cuda_graph: see ``TorchInferenceContext``.

    Returns:
        A module that is called as the saved one was.

    Raises:
        EngineFileError: damaged, or made for another TensorRT version or GPU.
        BackendUnavailableError: engines do not run on this machine.

    Example:
        y = torch2trt.load("net.engine")(x)
    """
    return LoadedModule(Engine.load(path, device), cuda_graph)
