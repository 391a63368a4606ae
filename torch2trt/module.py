"""TensorRTModule and TVMModule: PyTorch in ``train()``, a compiled program in ``eval()``."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from . import container
from .accuracy import check_engine, expected_error
from .backends import trt_api, tvm_module
from .backends.flags import set_tf32
from .check import check_outputs
from .core import GraphModule
from .engine import cuda_index
from .errors import BackendUnavailableError, ConversionError, InputMismatchError
from .inference import InferenceContext
from .inference.profiler import LayerTimes
from .program import Definition, Input, TensorRTProgram, define, lowered
from .saved import describe_call, save
from .settings import Dynamic, Settings, parse_settings, settings_of
from .switch import CompiledModule, Variant
from .tvm_program import TVMProgram


class TensorRTModule(CompiledModule):
    """A module that TensorRT runs in eval mode. Subclass it and write ``forward``.

    Inputs and outputs are CUDA tensors, in any nesting of tuples, lists and dicts, with None and
    numbers among them; dimension 0 is the batch. One engine serves batch sizes from 1 to
    `max_batchsize` on the current CUDA stream; a program that computes with the batch size in
    Python gets one engine per size.

    Args:
        max_batchsize: the largest batch.
        workspace: scratch memory that layers may use, in bytes; None: all there is.
        dtype: the type of matrix products and convolutions: float32, "tf32", float16 or bfloat16,
            as torch dtype, TensorRT ``DataType`` or name. Inputs, outputs, weights of the module
            and operations that overflow easily stay in float32.
        builder_config_fn: called with the ``IBuilderConfig`` (or builder and config) before a
            build.
        net_post_fn: called with the network and its output tensors; may add layers, and may return
            other outputs.
        input_names: names of the tensor inputs, "input0", "input1", ... by default.
        verbose: write a line per node while converting.
        precision: types of certain nodes, by kind ("aten::softmax") or module path ("layer1.0").
        dynamic: further dynamic dimensions: ``{name: {axis: (min, opt, max)}}``, or a list of
            such for one engine that is best at several sizes.
        refit: keep the weights of the engine exchangeable: True, False, or None: from the first
            time that weights change (the first engine is then a little faster).
        cache: keep engines on disk: True, a folder, or an ``EngineCache``. Not used together with
            `builder_config_fn` or `net_post_fn`, whose effect it cannot know.
        cuda_graph: see ``TorchInferenceContext``.
        optimization_level: 0 (fast build) to 5 (fast engine).
        check: compare the engine with PyTorch after a build: a relative error above 1e-4 (float32),
            5e-3 (tf32), 2e-2 (float16) or 1e-1 (bfloat16) is a warning, by the coarsest type that
            the module has or `dtype` asks for; values that are not finite where PyTorch's are is an
            error.
        accuracy: for 16 bits, the relative error to keep on the example inputs: where the engine
            has more, it is built again with the first 1, 2, 4, ... products in float32.
        progress: True for a progress bar while building, or a function called with ``Progress``.

    Raises:
        ConversionError: an argument means nothing.

    Example:
        class Scaled(torch2trt.TensorRTModule):
            def forward(self, x, scale=2.0):
                return x * scale

        y = Scaled(max_batchsize=8, dtype="float16").eval()(x)
    """

    def __init__(
        self,
        max_batchsize: int = 1,
        workspace: int | None = None,
        dtype: Any = torch.float32,
        builder_config_fn: Callable[..., Any] | None = None,
        net_post_fn: Callable[..., Any] | None = None,
        input_names: Sequence[str] | None = None,
        verbose: bool = False,
        *,
        precision: Mapping[str, Any] | None = None,
        dynamic: Dynamic | Sequence[Dynamic] | None = None,
        refit: bool | None = None,
        cache: Any = None,
        cuda_graph: bool = False,
        optimization_level: int | None = None,
        check: bool = True,
        accuracy: float | None = None,
        progress: Any = None,
    ) -> None:
        super().__init__()
        self.settings: Settings = parse_settings(
            max_batchsize, workspace, dtype, input_names, cache, precision, dynamic,
            builder_config_fn=builder_config_fn, net_post_fn=net_post_fn, verbose=verbose,
            refit=refit, cuda_graph=cuda_graph, optimization_level=optimization_level, check=check,
            accuracy=accuracy, progress=progress,
        )  # fmt: skip

    def _require_backend(self, tensors: Sequence[torch.Tensor]) -> None:
        trt_api.trt()
        if not trt_api.can_run():
            raise BackendUnavailableError(
                f"{type(self).__name__} runs a TensorRT engine in eval mode, and cannot here:"
                f" {trt_api.why_not_run()}. Without a GPU, .simulate(...) evaluates the network on"
                " the CPU and .build(path, ...) makes the engine file ahead of time; .train() runs"
                " PyTorch."
            )
        for name, tensor in zip(self.settings.names(len(tensors)), tensors):
            _cuda_device(name, tensor.device)

    def _inputs(self, tensors: Sequence[torch.Tensor], fixed: bool) -> list[Input]:
        names = self.settings.names(len(tensors))
        largest = self.settings.max_batchsize
        batch = next((t.shape[0] for t in tensors if t.dim()), 1)
        inputs = []
        for name, tensor in zip(names, tensors):
            given = [dict(profile.get(name, {})) for profile in self.settings.dynamic]
            _check_axes(name, tensor, given)
            batched = tensor.dim() > 0 and tensor.shape[0] == batch
            batched = batched and not any(0 in ranges for ranges in given)
            if batched and not 1 <= batch <= largest:
                raise InputMismatchError(
                    f"input {name!r}: got shape {tuple(tensor.shape)}, a batch of {batch}, expected"
                    f" 1 to {largest} (max_batchsize)"
                )
            if batched and largest > 1:
                given = [{0: (1, largest, largest), **ranges} for ranges in given]
            profiles = () if fixed else tuple(given)
            inputs.append(Input(name, tuple(tensor.shape), tensor.dtype, profiles))
        return inputs

    def _program(self, graph: GraphModule, inputs: Sequence[Input], device: Any) -> TensorRTProgram:
        index = _cuda_device(inputs[0].name, device)
        return TensorRTProgram(inputs, settings_of(self), index).compile(graph)

    def _finish(self, variant: Variant, args: Any, kwargs: Any) -> None:
        if self.settings.net_post_fn is not None:
            return
        variant.casts = _casts(variant.graph, [s.dtype for s in variant.program.engine.outputs])
        if self.settings.check:
            with set_tf32(False):
                expected = self._eager(args, kwargs)
            check_engine(variant, _tensors(args, kwargs), expected, self.program_name)

    def _defined(self, args: Any, kwargs: Any) -> tuple[GraphModule, list[Input], Definition]:
        trt_api.trt()
        inputs = self._inputs(_tensors(args, kwargs), fixed=False)
        graph = self._trace(args, kwargs, inputs)
        settings = settings_of(self)
        return graph, inputs, define(lowered(graph, settings), inputs, settings)

    def simulate(self, *args: Any, **kwargs: Any) -> Any:
        """What the engine would give, computed on the CPU from the network definition.

        Needs TensorRT-RTX or TensorRT, and no GPU. `accuracy` plays no part, for no engine is made.

        Args:
            *args, **kwargs: inputs, as ``forward`` takes them.

        Returns:
            What ``forward`` returns, on the CPU.
        """
        from .simulate import simulate

        graph, inputs, definition = self._defined(args, kwargs)
        values = {i.name: t.detach().cpu() for i, t in zip(inputs, _tensors(args, kwargs))}
        outputs = list(simulate(definition.network, values).values())
        casts = _casts(graph, [y.dtype for y in outputs])
        return Variant(None, graph, casts).pack(outputs)

    def build(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Build the engine ahead of time and write it to a file, see ``torch2trt.saved.load``.

        With TensorRT-RTX this needs no GPU.

        Args:
            path: the engine file.
            *args, **kwargs: example inputs, as ``forward`` takes them.

        Raises:
            BackendUnavailableError: ``refit=True`` and TensorRT-RTX without a GPU.
            ConversionError: an `accuracy` is asked for, and the engine does not run here.
            OSError: the folder does not exist.
        """
        if self.settings.accuracy is not None:
            raise ConversionError(
                "accuracy: build() does not run its engine; call the module and save() it, or name"
                " what stays in float32 with precision="
            )
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        if self.settings.refit and trt_api.is_rtx() and not torch.cuda.is_available():
            raise BackendUnavailableError(
                "refit=True: TensorRT-RTX builds engines whose weights can be exchanged only where"
                " a GPU is visible, and there is none; leave refit out to build ahead of time"
            )
        graph, inputs, definition = self._defined(args, kwargs)
        index = torch.cuda.current_device() if trt_api.can_run() else 0
        program = TensorRTProgram(inputs, self.settings, index)
        description, plan = program.plan(definition, bool(self.settings.refit))
        extra = {**description["extra"], **describe_call(graph, inputs)}
        container.write(path, {**description, "extra": extra}, plan)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the engine that was used last, with its weights, see ``torch2trt.saved.load``.

        Args:
            path: the engine file.

        Raises:
            Torch2TrtError: the module has no engine, or is called with types of the user's own.
        """
        save(self, path)

    def profile(self, *args: Any, **kwargs: Any) -> LayerTimes:
        """The time of each layer of the engine; print it for a table.

        Args:
            *args, **kwargs: inputs, as ``forward`` takes them.
        """
        self(*args, **kwargs)
        context = InferenceContext(self.latest_variant().program.engine)
        arrays = [tensor.cpu().numpy() for tensor in _tensors(args, kwargs)]
        context.inference(*arrays)  # the first launch of a shape prepares it
        context.inference(*arrays)
        return context.profile()


class _Wrapper(CompiledModule):
    def __init__(self, net: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.net = net
        settings_of(self)  # refuses what it does not know at once
        self.train(getattr(net, "training", False))  # a frozen script has no mode

    @property
    def program_name(self) -> str:
        """What messages call the program: the class of the wrapped module."""
        return type(self.net).__name__

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped module's forward."""
        return self.net(*args, **kwargs)


class TensorRTModuleWrapper(_Wrapper, TensorRTModule):
    """Any module, run by TensorRT in eval mode.

    Args:
        net: the module.
        *args, **kwargs: `max_batchsize`, `workspace` and so on as for ``TensorRTModule``.

    Example:
        module = torch2trt.TensorRTModuleWrapper(net, max_batchsize=8).eval()
        y = module(x)  # builds the engine, then runs it
    """


class TVMModule(CompiledModule):
    """A module that TVM runs in eval mode, on the CPU or on CUDA as the inputs are.

    Subclass it and write ``forward``. Each input shape is compiled once.

    Args:
        graph_post_fn: called with the Relax module before it is compiled; may return another.
        input_names: names of the tensor inputs, "input0", "input1", ... by default.
        verbose: write a line per node while converting.
        dtype: as for ``TensorRTModule``. With float32, matrix products and convolutions on CUDA use
            TensorFloat-32 where PyTorch's own settings (``allow_tf32``) say so at the call; with
            "tf32" always.
        precision: types of certain nodes, as for ``TensorRTModule``.
        check: compare the program with PyTorch after compiling, without TensorFloat-32 unless
            `dtype` asks for it: a relative error above 1e-4 (float32), 5e-3 (tf32), 2e-2 (float16)
            or 1e-1 (bfloat16) is a warning, by the coarsest type that the module has or `dtype`
            asks for; values that are not finite where PyTorch's are is an error.

    Raises:
        ConversionError: an argument means nothing.

    Example:
        class Doubled(torch2trt.TVMModule):
            def forward(self, x):
                return x * 2

        y = Doubled().eval()(x)
    """

    def __init__(
        self,
        graph_post_fn: Callable[[Any], Any] | None = None,
        input_names: Sequence[str] | None = None,
        verbose: bool = False,
        *,
        dtype: Any = torch.float32,
        precision: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> None:
        super().__init__()
        self.settings = parse_settings(
            1, None, dtype, input_names, None, precision, None, builder_config_fn=None,
            net_post_fn=graph_post_fn, verbose=verbose, refit=None, cuda_graph=False,
            optimization_level=None, check=check, progress=None,
        )  # fmt: skip

    def _require_backend(self, tensors: Sequence[torch.Tensor]) -> None:
        tvm_module()

    def _inputs(self, tensors: Sequence[torch.Tensor], fixed: bool) -> list[Input]:
        names = self.settings.names(len(tensors))
        return [Input(n, tuple(t.shape), t.dtype) for n, t in zip(names, tensors)]

    def _program(self, graph: GraphModule, inputs: Sequence[Input], device: Any) -> TVMProgram:
        return TVMProgram(graph, inputs, device, settings_of(self))

    def _finish(self, variant: Variant, args: Any, kwargs: Any) -> None:
        if self.settings.check and self.settings.net_post_fn is None:
            what = f"the TVM program of {self.program_name} ({self.settings.type_name})"
            with set_tf32(False):
                expected = self._eager(args, kwargs)
                got = variant.pack(variant.program.run_plainly(*_tensors(args, kwargs)))
            check_outputs(expected, got, expected_error(self.settings, variant.graph), what)

    def report(self, *args: Any, **kwargs: Any) -> list[Any]:
        """What the program consists of: a ``Row`` for each fused function and library call.

        A row says which schedule served it, how often it is called, the seconds of these calls and
        their share of the whole; the slowest comes first. Times are those of single steps: on CUDA
        without a graph.

        Args:
            *args, **kwargs: inputs, as ``forward`` takes them.

        Raises:
            Torch2TrtError: the program has no schedules of ours (Relay, or dynamic shapes on CUDA).
        """
        self(*args, **kwargs)
        return self.latest_variant().program.report(_tensors(args, kwargs))


class TVMModuleWrapper(_Wrapper, TVMModule):
    """Any module, run by TVM in eval mode.

    Args:
        net: the module.
        *args, **kwargs: `graph_post_fn`, `input_names` and so on as for ``TVMModule``.

    Example:
        module = torch2trt.TVMModuleWrapper(net).eval()
        y = module(x)  # compiles, then runs the program
    """


def _check_axes(name: str, tensor: torch.Tensor, given: Sequence[Mapping[int, Any]]) -> None:
    beyond = sorted({axis for ranges in given for axis in ranges if axis >= tensor.dim()})
    if beyond:
        raise InputMismatchError(
            f"input {name!r}: got shape {tuple(tensor.shape)}, but dynamic= names the dimensions"
            f" {beyond}"
        )


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves((args, kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _casts(
    graph: GraphModule, dtypes: Sequence[torch.dtype]
) -> tuple[tuple[int, torch.dtype], ...]:
    """Outputs whose type in the engine is not PyTorch's (TensorRT 8.6 has no int64)."""
    wanted = [value.dtype for value in graph.graph.outputs]
    pairs = enumerate(zip(dtypes, wanted))
    return tuple((i, want) for i, (got, want) in pairs if want is not None and got != want)


def _cuda_device(name: str, device: torch.device) -> int:
    if device.type != "cuda":
        raise InputMismatchError(
            f"input {name!r}: got a tensor on {device}, expected a CUDA tensor"
        )
    return cuda_index(device)
