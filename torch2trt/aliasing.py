"""Which values of a traced graph share memory: from schemas, strides, and runs without data."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from .errors import ConversionError
from .graph import Graph, Node, Value
from .registry import run_torch


class Sharing(enum.Enum):
    """What the output of a node is, seen from one of its inputs."""

    FRESH = "memory of its own"
    SAME = "the very same elements in the same order"
    VIEW = "some of its elements, or all in another arrangement"
    UNSURE = "one of these, depending on what the trace does not know"


class _Unknown:
    pass


UNKNOWN = _Unknown()
_RUN_ERRORS = (
    RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, ConversionError,
)  # fmt: skip
_DEPENDS_ON_STRIDES = {
    "aten::reshape", "aten::contiguous", "aten::flatten", "aten::ravel", "aten::reshape_as",
}  # fmt: skip
_MAY_COPY = _DEPENDS_ON_STRIDES | {
    "aten::to", "aten::cpu", "aten::cuda", "aten::real", "aten::conj", "aten::positive",
}  # fmt: skip
# Written in terms of others, but they always compute: no need to try them.
_COMPUTES = {
    "aten::linear", "aten::matmul", "aten::conv1d", "aten::conv2d", "aten::conv3d",
    "aten::layer_norm", "aten::group_norm", "aten::batch_norm", "aten::instance_norm",
    "aten::softmax", "aten::log_softmax", "aten::scaled_dot_product_attention",
    "aten::max_pool1d", "aten::max_pool2d", "aten::max_pool3d", "aten::adaptive_avg_pool1d",
    "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d", "aten::lstm", "aten::gru",
    "aten::repeat_interleave",
}  # fmt: skip
# Views whose schemas do not say so: the caller promises to write to one side only.
_UNDECLARED_VIEWS = {"aten::unsafe_chunk", "aten::unsafe_split", "aten::unsafe_split_with_sizes"}
_KEEPS_ALL = {"aten::detach", "aten::alias", "aten::lift"}
_KEEPS_REAL = {"aten::resolve_conj", "aten::resolve_neg"}


class Examples:
    """Values like those of the trace, without data: meta tensors, and numbers made of sizes."""

    def __init__(self, graph: Graph, attribute: Callable[[str], Any] | None = None):
        self._attribute = attribute
        self._makers = {v.name: node for node in graph.nodes for v in node.outputs}
        self._known: dict[str, Any] = {}

    def of(self, value: Value) -> Any:
        """A meta tensor, a number, a list, or UNKNOWN."""
        if value.name not in self._known:
            self._known[value.name] = self._make(value)
        return self._known[value.name]

    def run(self, kind: str, overload: str, inputs: tuple[Value, ...]) -> Any:
        """What the PyTorch operator gives for values like `inputs`, or UNKNOWN."""
        arguments = [self.of(v) for v in inputs]
        if _has_unknown(arguments):
            return UNKNOWN
        arguments = [torch.device("meta") if isinstance(a, torch.device) else a for a in arguments]
        try:
            return run_torch(f"{kind}.{overload or 'default'}", arguments)
        except _RUN_ERRORS:
            return UNKNOWN

    def _make(self, value: Value) -> Any:
        node = self._makers.get(value.name)
        if node is not None and node.kind == "prim::Constant":
            constant = node.attributes["value"]
            return _meta(value) if isinstance(constant, torch.Tensor) else constant
        if node is not None and node.kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            elements = [self.of(v) for v in node.inputs]
            return UNKNOWN if _has_unknown(elements) else elements
        if node is not None and node.kind == "prim::GetAttr" and self._attribute is not None:
            return _like(self._attribute(node.attributes["name"]))
        if node is None or value.shape:
            return _meta(value)
        return self._number(node, value)

    def _number(self, node: Node, value: Value) -> Any:
        """A number, or a 0-d tensor that may stand for one (the trace wraps sizes so)."""
        if node.kind == "aten::size":
            sizes = node.inputs[0].shape
            dim = self.of(node.inputs[1]) if len(node.inputs) > 1 else None
            if sizes is None or dim is UNKNOWN:
                return UNKNOWN
            return sizes if dim is None else sizes[dim]
        arguments = [self.of(v) for v in node.inputs]
        if _has_unknown(arguments) or _is_meta(arguments):
            return _meta(value)
        if node.kind in ("aten::Int", "aten::IntImplicit"):
            return int(arguments[0])
        if node.kind in ("prim::NumToTensor", "aten::ScalarImplicit"):
            return arguments[0]
        result = self.run(node.kind, node.overload, node.inputs)
        known = isinstance(result, torch.Tensor) and not _is_meta(result)
        return result.item() if known else _meta(value)


def _has_unknown(values: list[Any]) -> bool:
    return any(v is UNKNOWN for v in values)


def _is_meta(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_meta(v) for v in value)
    return isinstance(value, torch.Tensor) and value.device.type == "meta"


def _like(tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
        return UNKNOWN
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _meta(value: Value) -> Any:
    if value.shape is None or value.dtype is None:
        return UNKNOWN
    if value.strides is None:
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    return torch.empty_strided(value.shape, value.strides, dtype=value.dtype, device="meta")


@lru_cache(maxsize=4096)
def _is_composite(name: str) -> bool:
    """Whether an operator is made of others: only those may return an input without saying so."""
    try:
        return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    except RuntimeError:
        return False


def sharing(node: Node, examples: Examples) -> tuple[Sharing, int]:
    """What the output of `node`, which writes to nothing, shares with the input at a position."""
    if node.views:
        return _declared(node, node.views[0], examples), node.views[0]
    if node.kind in _UNDECLARED_VIEWS:
        return Sharing.VIEW, 0
    if node.kind in _COMPUTES or not _is_composite(node.name):
        return Sharing.FRESH, 0
    candidates = [
        i for i, v in enumerate(node.inputs) if any(_could_share(v, o) for o in node.outputs)
    ]
    if not candidates:
        return Sharing.FRESH, 0
    result = examples.run(node.kind, node.overload, node.inputs)
    if result is UNKNOWN:
        likely = [i for i in candidates if any(_as_large(node.inputs[i], o) for o in node.outputs)]
        return (Sharing.UNSURE, likely[0]) if likely else (Sharing.FRESH, 0)
    for position in candidates:
        found = _compare(examples.of(node.inputs[position]), result)
        if found is not Sharing.FRESH:
            return (Sharing.UNSURE if found is Sharing.VIEW else found), position
    return Sharing.FRESH, 0


def _declared(node: Node, position: int, examples: Examples) -> Sharing:
    source = node.inputs[position]
    if node.kind in _KEEPS_ALL:
        return Sharing.SAME
    if node.kind in _KEEPS_REAL:
        return Sharing.UNSURE if source.dtype is None or source.dtype.is_complex else Sharing.SAME
    if node.kind == "aten::slice" and _is_whole(node, examples):
        return Sharing.SAME
    if node.kind not in _MAY_COPY:
        return Sharing.VIEW
    result = examples.run(node.kind, node.overload, node.inputs)
    found = Sharing.UNSURE if result is UNKNOWN else _compare(examples.of(source), result)
    has_device = any(isinstance(examples.of(v), torch.device) for v in node.inputs)
    moves = has_device or "device" in node.overload
    has_ones = not _is_row_major(source) and 1 in (source.shape or ())
    strides_matter = node.kind in _DEPENDS_ON_STRIDES and has_ones
    if found is not Sharing.FRESH and (moves or strides_matter):
        return Sharing.UNSURE
    reshapes = node.kind in ("aten::reshape", "aten::flatten", "aten::reshape_as")
    return Sharing.VIEW if found is Sharing.SAME and reshapes else found


def _is_whole(node: Node, examples: Examples) -> bool:
    start, end, step = (examples.of(v) for v in node.inputs[2:5])
    return start in (0, None) and (end is None or end == torch.iinfo(torch.int64).max) and step == 1


def _could_share(value: Value, output: Value) -> bool:
    if "Tensor" not in value.type or "Tensor" not in output.type:
        return False
    return value.dtype is None or output.dtype is None or value.dtype == output.dtype


def _as_large(value: Value, output: Value) -> bool:
    if value.shape is None or output.shape is None:
        return True
    return math.prod(output.shape) <= math.prod(value.shape)


_LAYOUT = (
    torch.Tensor.size, torch.Tensor.stride, torch.Tensor.storage_offset, torch.Tensor.is_conj,
    torch.Tensor.is_neg, lambda tensor: tensor.dtype,
)  # fmt: skip


def _compare(source: Any, result: Any) -> Sharing:
    sources = source if isinstance(source, (list, tuple)) else [source]
    results = result if isinstance(result, (list, tuple)) else [result]
    memory = {s.untyped_storage()._cdata for s in sources if isinstance(s, torch.Tensor)}
    shared = [
        r for r in results if isinstance(r, torch.Tensor) and r.untyped_storage()._cdata in memory
    ]
    if not shared:
        return Sharing.FRESH
    (first,) = shared if len(shared) == 1 else (None,)
    if first is None or len(sources) > 1:
        return Sharing.VIEW
    same = all(fact(first) == fact(sources[0]) for fact in _LAYOUT)
    return Sharing.SAME if same else Sharing.VIEW


def _is_row_major(value: Value) -> bool:
    if value.shape is None or value.strides is None:
        return False
    expected = [math.prod(value.shape[i + 1 :]) for i in range(len(value.shape))]
    return list(value.strides) == expected


def overlaps(value: Value) -> bool:
    """Whether several elements may lie at one address (expanded, overlapping windows)."""
    if value.shape is None or value.strides is None or 0 in value.shape:
        return False
    reach = 0
    for stride, size in sorted(zip(value.strides, value.shape)):
        if size == 1:
            continue
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
