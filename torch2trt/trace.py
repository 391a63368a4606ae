"""From a program and example inputs to a graph: tracing, nested inputs and outputs."""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from .errors import ConversionError, InputMismatchError, Torch2TrtError
from .fixed import same_value
from .graph import Graph, from_torchscript
from .hidden import hidden
from .state import check_repeats, state_kept
from .tracing_warnings import Collected, Frozen, line_of_program, tracer_warnings
from .untraced import check_no_write_was_dropped, overlooked_is_traced, undeclared_writes


@dataclass(frozen=True)
class Trace:
    """A traced program.

    Attributes:
        graph: from the tensors among the inputs to the tensors among the outputs.
        input_tree, input_leaves: the structure of ``(args, kwargs)``; the leaves that are no
            tensors are fixed.
        output_tree, output_leaves: the structure of the result, likewise; sizes and what Python
            computes with them are numbers.
        frozen: what the tracer warned about.
        from_data: the lines that take Python numbers from values of the inputs.
        counters: the attributes that every call changes, which no output shows.
        root: holds the program as ``module``; the paths of ``prim::GetAttr`` nodes start here.
    """

    graph: Graph
    input_tree: pytree.TreeSpec
    input_leaves: tuple[Any, ...]
    output_tree: pytree.TreeSpec
    output_leaves: tuple[Any, ...]
    frozen: tuple[Frozen, ...]
    root: nn.Module
    from_data: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    def attribute(self, path: str) -> Any:
        """The parameter, buffer or other attribute at `path`, as it is now."""
        target: Any = self.root
        for name in path.split("."):
            target = getattr(target, name)
        return target

    def flatten_inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], is_tensor: Callable[[Any], bool]
    ) -> list[Any]:
        """The tensors among the inputs of a call, in the order of ``graph.inputs``.

        Raises:
            InputMismatchError: another structure than the example's, or another value where the
                example had no tensor.
        """
        leaves, tree = pytree.tree_flatten((tuple(args), dict(kwargs)))
        if tree != self.input_tree:
            count = sum(leaf is TENSOR for leaf in self.input_leaves)
            raise InputMismatchError(
                f"inputs: got {describe_arguments(args, kwargs)}, expected the structure of the"
                f" example inputs ({count} tensors: {self.input_tree})"
            )
        tensors = []
        for position, (leaf, example) in enumerate(zip(leaves, self.input_leaves)):
            if example is TENSOR:
                if not is_tensor(leaf):
                    raise InputMismatchError(
                        f"input {position}: got {type(leaf).__name__}, expected a tensor"
                    )
                tensors.append(leaf)
            elif leaf is not example and not same_value(leaf, example):
                raise InputMismatchError(
                    f"input {position}: got {leaf!r}, expected {example!r}: it is no tensor, and "
                    "was fixed by the trace"
                )
        return tensors

    def unflatten_outputs(self, tensors: Sequence[Any]) -> Any:
        """Put output tensors into the structure that the module returned while tracing."""
        remaining = iter(tensors)
        leaves = [
            next(remaining) if leaf is TENSOR else as_number(next(remaining)) if leaf is NUMBER
            else leaf
            for leaf in self.output_leaves
        ]  # fmt: skip
        return pytree.tree_unflatten(leaves, self.output_tree)


def as_arguments(inputs: Any) -> tuple[Any, ...]:
    """Positional arguments: a sequence of them, or a single one."""
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def as_number(value: Any) -> Any:
    """The number in a 0-d tensor; itself where it is symbolic, or a number already."""
    return value.item() if isinstance(value, torch.Tensor) else value


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"


TENSOR = _Mark("tensor")  # stands for a tensor among the leaves of a tree
NUMBER = _Mark("number")  # for a number that the trace holds as a 0-d tensor
_OF_NUMBERS = frozenset(
    f"aten::{name}"
    for name in (
        "add sub rsub mul div floor_divide remainder neg pow abs eq ne lt le gt ge min max"
    ).split()
)  # what Python's operators and functions of numbers are traced as


def describe_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a call in short: types, shapes and devices."""
    described = [_kind(a) for a in args] + [f"{k}={_kind(v)}" for k, v in kwargs.items()]
    return f"({', '.join(described)})"


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype}{list(value.shape)} on {value.device}"
    shape = getattr(value, "shape", None)
    with contextlib.suppress(TypeError, ValueError):
        return f"{type(value).__name__}{list(shape)}"
    return type(value).__name__


class _Flat(nn.Module):
    """Calls the program with flat tensors and returns some, so that any nesting can be traced."""

    def __init__(self, program: Callable[..., Any], tree: pytree.TreeSpec, leaves: Sequence[Any]):
        super().__init__()
        self.module = program
        for name, value in hidden(program):  # their parameters must stay parameters in the trace
            if isinstance(value, nn.Module):
                name = f"{name}_{len(self._modules)}" if hasattr(self, name) else name
                self.add_module(name, value)
        self._tree, self._leaves = tree, tuple(leaves)
        self.output: tuple[pytree.TreeSpec, tuple[Any, ...]] | None = None
        self.dtypes: list[torch.dtype] = []
        self.writes: Counter[str] = Counter()

    def run(
        self, tensors: Sequence[torch.Tensor], program: Callable[..., Any]
    ) -> tuple[list[Any], pytree.TreeSpec]:
        """The leaves of what `program` gives, and its structure."""
        remaining = iter(tensors)
        leaves = [next(remaining) if leaf is TENSOR else leaf for leaf in self._leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._tree)
        return pytree.tree_flatten(program(*args, **kwargs))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        leaves, tree = self.run(tensors, self.module)
        self.writes = undeclared_writes(torch._C._get_tracing_state().graph())
        self.output = tree, _marked(leaves)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.dtypes = [tensor.dtype for tensor in tensors]
        return tuple(tensors)


def _marked(leaves: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)


def trace(
    program: Callable[..., Any],
    example_inputs: Any,
    example_kwargs: Mapping[str, Any] | None = None,
) -> Trace:
    """Trace `program` with TorchScript.

    Args:
        program: an ``nn.Module``, a ``ScriptModule`` or a function; nothing of it is changed.
        example_inputs: one tensor, or a sequence of positional arguments: tensors, None, numbers,
            and tuples, lists and dicts of them.
        example_kwargs: keyword arguments.

    Raises:
        ConversionError: the program returns no tensor, or objects that are neither tensors nor
            plain values.
        InputMismatchError: no tensor among the inputs, or the program itself fails on them.
    """
    args = as_arguments(example_inputs)
    leaves, tree = pytree.tree_flatten((args, dict(example_kwargs or {})))
    examples = tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, torch.Tensor))
    if not examples:
        raise InputMismatchError("example inputs: got no tensor, expected at least one")
    flat = _Flat(program, tree, _marked(leaves))
    flat.training = getattr(program, "training", False)
    inputs = describe_arguments(args, example_kwargs or {})
    with torch.no_grad(), _fresh_casts():
        _initialise(flat, examples, inputs)
        with state_kept(dict(flat.named_children())) as state:
            with overlooked_is_traced(), _quiet_tracing() as frozen:
                script = _script(flat, examples, inputs)
            changed = list(state.changes())
        counters: list[str] = []
        if changed:
            again = partial(_leaves_of_copies, flat, examples)
            counters = check_repeats(dict(flat.named_children()), again, _name(program), changed)
            frozen += [Frozen("another at each call, here as in the trace", n) for n in counters]
    output_tree, output_leaves = flat.output
    if TENSOR not in output_leaves or not all(map(_is_plain, output_leaves)):
        raise _returns_wrong(program, output_leaves)
    check_no_write_was_dropped(flat.writes, script.inlined_graph)
    graph = _flat_outputs(from_torchscript(script.inlined_graph), flat.dtypes)
    output_leaves = _with_numbers(graph, output_leaves)
    return Trace(graph, tree, _marked(leaves), output_tree, output_leaves, tuple(frozen), flat,
        tuple(frozen.from_data), tuple(counters),
    )  # fmt: skip


def _with_numbers(graph: Graph, leaves: Sequence[Any]) -> tuple[Any, ...]:
    """The leaves with those marked that are numbers in Python: sizes and what is made of them."""
    plain, numbers, tuples = set(), set(), {}
    for node in graph.nodes:
        inputs = {value.name for value in node.inputs}
        made = {value.name for value in node.outputs}
        if isinstance(node.attributes.get("value"), (int, float)):
            plain |= made
        elif node.kind == "prim::TupleConstruct":
            tuples[node.outputs[0].name] = node.inputs
        elif node.kind == "prim::TupleUnpack":
            parts = zip(node.outputs, tuples.get(node.inputs[0].name, ()))
            numbers |= {value.name for value, part in parts if part.name in numbers}
        elif node.kind == "prim::NumToTensor":
            numbers |= made
        elif node.kind in _OF_NUMBERS and inputs & numbers and inputs <= plain | numbers:
            numbers |= made
    remaining = iter(graph.outputs)
    return tuple(
        NUMBER if leaf is TENSOR and next(remaining).name in numbers else leaf for leaf in leaves
    )


def _leaves_of_copies(flat: _Flat, examples: Sequence[torch.Tensor]) -> list[Any]:
    program = getattr(flat.module, "in_pytorch", flat.module)  # a compiled module's forward
    return flat.run([x.clone() for x in examples], program)[0]


def _initialise(flat: _Flat, examples: Sequence[torch.Tensor], inputs: str) -> None:
    """Run a program with lazy parameters once; what makes them is no part of it."""
    if any(map(is_lazy, (*flat.parameters(), *flat.buffers()))):
        try:
            _leaves_of_copies(flat, examples)
        except Exception as error:
            raise _fails(flat, inputs, error) from error


def _script(flat: _Flat, examples: tuple[torch.Tensor, ...], inputs: str) -> Any:
    """The TorchScript of a program; `inputs` describes what it is called with."""
    try:
        return torch.jit.trace(flat, examples, check_trace=False)
    except Exception as error:
        if flat.output is not None and TENSOR not in flat.output[1]:
            raise _returns_wrong(flat.module, flat.output[1]) from error
        if isinstance(error, Torch2TrtError):
            raise
        if "Cannot insert a Tensor that requires grad" in str(error):
            raise ConversionError(
                f"{_name(flat.module)} uses a tensor that requires gradients and is no parameter of"
                f" it; make it an nn.Parameter of the module, or detach it ({_line_of(error)})"
            ) from error
        failure = error
    if any(text in str(failure) for text in _NOT_TRACED):
        raise _not_traced(flat, failure) from failure
    try:
        _leaves_of_copies(flat, examples)
    except Exception as error:
        raise _fails(flat, inputs, error) from error
    raise _not_traced(flat, failure) from failure


_NOT_TRACED = {
    "dynamo-optimized function": "torch.compile'd functions and modules hide what they compute; use"
    " what they were made of, module._orig_mod",
    "that doesn't have storage": "transforms of torch.func are not recorded; write the derivative"
    " or the batched computation as operations",
    "The stateless API": "torch.func.functional_call is not recorded; call the functions of"
    " torch.nn.functional on the tensors",
}  # messages of PyTorch, and what they are about


def _not_traced(flat: _Flat, error: Exception) -> ConversionError:
    lines = str(error).strip().splitlines() or [""]
    known = (meaning for text, meaning in _NOT_TRACED.items() if text in str(error))
    reason = next(known, f"{type(error).__name__}: {lines[0]}")
    return ConversionError(f"{_name(flat.module)} cannot be traced ({_line_of(error)}): {reason}")


def _fails(flat: _Flat, inputs: str, error: Exception) -> InputMismatchError:
    return InputMismatchError(
        f"{_name(flat.module)} fails in PyTorch on the inputs {inputs} ({_line_of(error)}): "
        f"{type(error).__name__}: {error}"
    )


def _line_of(error: Exception) -> str:
    """The line of the program in which an error was raised."""
    lines = [line_of_program(*place) for place in traceback.walk_tb(error.__traceback__)]
    return next(filter(None, reversed(lines)), "in the top module")


def _is_plain(leaf: Any) -> bool:
    return leaf is TENSOR or isinstance(leaf, (type(None), bool, int, float, str))


def _name(program: Any) -> str:
    """What the user calls a program: the name of a function, or of the class of a module."""
    named = getattr(program, "program_name", None) or getattr(program, "__name__", None)
    return named if isinstance(named, str) else type(program).__name__


def _returns_wrong(program: Any, leaves: Sequence[Any]) -> ConversionError:
    kinds = sorted({type(leaf).__name__ for leaf in leaves if leaf is not TENSOR})
    expected = "tensors, or tuples, lists and dicts of tensors and plain values"
    got = ", ".join(kinds) or "nothing"
    return ConversionError(f"{_name(program)} returned {got}; expected {expected}")


def _flat_outputs(graph: Graph, dtypes: Sequence[torch.dtype]) -> Graph:
    """Make the elements of the returned tuple the outputs of the graph. TorchScript tells no dtype
    of attributes and of what scripts return."""
    outputs = graph.outputs
    made_by = {v.name: node for node in graph.nodes for v in node.outputs}
    if len(outputs) == 1 and outputs[0].type != "Tensor":
        maker = made_by[outputs[0].name]
        outputs = maker.inputs if maker.kind == "prim::TupleConstruct" else outputs
    outputs = tuple(replace(v, dtype=d) for v, d in zip(outputs, dtypes, strict=True))
    return Graph(graph.inputs, outputs, graph.nodes).without_dead_nodes()


@contextlib.contextmanager
def _quiet_tracing() -> Iterator[Collected]:
    """Collect the tracer's warnings, with attention in operators of its own."""
    with plain_attention(), tracer_warnings() as frozen:
        yield frozen


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """``nn.MultiheadAttention`` stays off its fused path, which rounds in other places."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextlib.contextmanager
def _fresh_casts() -> Iterator[None]:
    """Weights that autocast has cast before are constants to the tracer: cast them in the trace."""
    enabled = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
