"""What tracing turned into constants: from the tracer's warnings, the graph, and other inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .backends.pytorch import TORCH_CONTEXT
from .builder import constants_of
from .errors import Torch2TrtError
from .graph import Graph, Node, Value
from .inplace import reads_only_sizes
from .state import state_kept
from .trace import Trace, as_arguments, plain_attention
from .trace import trace as trace_again
from .tracing_warnings import Frozen
from .walk import walk

_NUMBERS = {
    "aten::Int", "aten::Float", "aten::Bool", "aten::item", "aten::IntImplicit",
    "aten::FloatImplicit", "aten::ScalarImplicit", "aten::_local_scalar_dense",
}  # fmt: skip
_UNFILLED = {
    "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::empty_permuted",
    "aten::new_empty", "aten::new_empty_strided",
}  # fmt: skip
_ROUNDING = {
    torch.float16: 1e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5, torch.float64: 1e-7,
    torch.complex64: 1e-5, torch.complex128: 1e-7,
}  # fmt: skip
_RUN_ERRORS = (RuntimeError, IndexError, ValueError, TypeError, Torch2TrtError)


def frozen_values(trace: Trace) -> tuple[Frozen, ...]:
    """What tracing froze, as far as one trace can tell.

    Args:
        trace: of the program.

    Returns:
        What the tracer warned about, the Python numbers that the graph takes from the values of
        its inputs, and memory that it reads and does not fill. Sizes that the program uses as
        Python numbers look like any other constant; ``generalises`` finds those.
    """
    return tuple(dict.fromkeys((
        *trace.frozen, *_numbers_from_data(trace.graph), *_unfilled_memory(trace.graph)
    )))  # fmt: skip


def _numbers_from_data(graph: Graph) -> Iterator[Frozen]:
    data = {v.name for v in graph.inputs}
    for node in graph.nodes:
        if reads_only_sizes(node) or not any(v.name in data for v in node.inputs):
            continue
        data.update(v.name for v in node.outputs)
        if node.kind in _NUMBERS:
            yield Frozen(
                f"{node.name} takes a Python number from tensor values", _line_of(node, graph)
            )


def _unfilled_memory(graph: Graph) -> Iterator[Frozen]:
    """Reads of memory that no operation of the trace wrote to: a kernel of the user's may have."""
    memory: dict[str, set[str]] = {}  # the unfilled tensors that a value may be a view of
    sources: dict[str, str] = {}
    filled: set[str] = set()
    for node in graph.nodes:
        given = [memory.get(v.name, set()) for v in node.inputs]
        for position in node.mutates:
            filled |= given[position]
        read = set().union(*given) - filled
        passes = node.kind.startswith("prim::") or (node.views and not node.mutates)
        if read and not passes and not reads_only_sizes(node):
            yield Frozen(f"{node.name} reads memory that nothing in the trace fills", node.source)
        shape = node.outputs[0].shape if node.kind in _UNFILLED else None
        if shape is not None and 0 not in shape:
            memory[node.outputs[0].name] = {node.outputs[0].name}
            sources[node.outputs[0].name] = node.source
        elif read and passes:
            memory.update((v.name, read) for v in node.outputs)
    for name in set().union(*(memory.get(v.name, set()) for v in graph.outputs)) - filled:
        yield Frozen("the program returns memory that nothing in the trace fills", sources[name])


def _line_of(node: Node, graph: Graph) -> str:
    """The source of `node`, or of the operation that a list or conversion is made for."""
    while not node.source:
        reader = next((n for n in graph.nodes if any(_reads(n, v) for v in node.outputs)), None)
        if reader is None:
            return node.module or "the program"
        node = reader
    return node.source


def generalises(
    program: Callable[..., Any],
    trace: Trace,
    graph: Graph,
    other_inputs: Sequence[Any],
    other_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Frozen, ...]:
    """Compare a traced program, run by PyTorch, with the program itself on inputs of other sizes.

    Args:
        program: what was traced.
        trace: of `program`.
        graph: of `trace`, free of in-place writes.
        other_inputs, other_kwargs: as the program takes them, in sizes that it was not traced with.

    Returns:
        Nothing where the outputs agree. Else which outputs differ, and which constants of the graph
        would be others had the program been traced with these inputs, with their source lines.

    Raises:
        InputMismatchError: `other_inputs` have another structure than the traced ones.
    """
    args = as_arguments(other_inputs)
    kwargs = dict(other_kwargs or {})
    run = getattr(program, "in_pytorch", program)  # a compiled module's forward
    with torch.no_grad(), plain_attention(), state_kept(dict(trace.root.named_children())):
        results = pytree.tree_leaves(run(*_copied(args), **_copied(kwargs)))
    expected = [leaf for leaf in results if isinstance(leaf, torch.Tensor)]
    tensors = trace.flatten_inputs(
        _copied(args), _copied(kwargs), lambda v: isinstance(v, torch.Tensor)
    )
    try:
        got = walk(graph, tensors, trace.attribute, TORCH_CONTEXT)
        differences = list(_differences(graph, got, expected))
    except _RUN_ERRORS as error:
        message = f"the traced program fails: {first_line(error)}"
        differences = [Frozen(message, "inputs of other sizes")]
    if not differences:
        return ()
    other = trace_again(program, _copied(args), _copied(kwargs))
    return tuple(dict.fromkeys((*differences, *changed_constants(trace.graph, other.graph))))


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _copied(values: Any) -> Any:
    return pytree.tree_map(lambda v: v.clone() if isinstance(v, torch.Tensor) else v, values)


def _differences(
    graph: Graph, got: Sequence[Any], expected: Sequence[torch.Tensor]
) -> Iterator[Frozen]:
    makers = {v.name: node.source for node in graph.nodes for v in node.outputs}
    for position, (value, one, other) in enumerate(zip(graph.outputs, got, expected)):
        one = torch.as_tensor(one)
        try:
            torch.testing.assert_close(one, other, equal_nan=True, **_tolerances(other))
        except AssertionError:
            sizes = f"{list(one.shape)}, not {list(other.shape)}"
            what = "other values" if one.shape == other.shape else sizes
            message = f"output {position} of the traced program has {what}"
            yield Frozen(message, makers.get(value.name, value.name))
    if len(got) != len(expected):
        message = f"{len(got)} outputs in the trace, {len(expected)} for the other inputs"
        yield Frozen(message, "the program")


def _tolerances(expected: torch.Tensor) -> dict[str, float]:
    """Sums are rounded relative to the values that are added, not to what is left of them."""
    if expected.dtype not in _ROUNDING:
        return {}
    rounding = _ROUNDING[expected.dtype]
    finite = expected[expected.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    return {"rtol": rounding, "atol": rounding * max(1.0, largest)}


def changed_constants(first: Graph, second: Graph) -> Iterator[Frozen]:
    """The constants by which two traces of one program differ, up to where they part."""
    constants, others = constants_of(first), constants_of(second)
    for node, other in zip(_operations(first), _operations(second)):
        if _form(node) != _form(other):
            message = f"the traces part here: {_brief(node)}; for the other inputs {_brief(other)}"
            yield Frozen(message, _line_of(node, first))
            return
        for value, counterpart in zip(node.inputs, other.inputs):
            if value.name not in constants or counterpart.name not in others:
                continue
            was, now = constants[value.name], others[counterpart.name]
            if not _equal(was, now):
                what = f"a constant of {_reader(node, first)} is {_short(was)}"
                message = f"{what}; for the other inputs {_short(now)}"
                yield Frozen(message, _line_of(node, first))


def _form(node: Node) -> tuple[str, int, int]:
    return node.name, len(node.inputs), len(node.outputs)


def _operations(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.kind not in ("prim::Constant", "prim::GetAttr")]


def _brief(node: Node) -> str:
    return f"{node.name} with {len(node.outputs)} outputs" if len(node.outputs) > 1 else node.name


def _reader(node: Node, graph: Graph) -> str:
    """The operation that a list of constants is made for."""
    if node.kind != "prim::ListConstruct":
        return node.name
    return next((n.name for n in graph.nodes if _reads(n, node.outputs[0])), node.name)


def _reads(node: Node, value: Value) -> bool:
    return any(v.name == value.name for v in node.inputs)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and (one == other or one != one)


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.numel() > 8:
        return f"a tensor {list(value.shape)}"
    return repr(value)
