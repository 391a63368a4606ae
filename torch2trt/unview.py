"""Inverses of views: the tensor that results when a view of it was given new values."""

from __future__ import annotations

from .builder import GraphBuilder
from .graph import Node, Value

# The view's own arguments after (base, new values).
_SCATTERS = {
    "aten::slice.Tensor": "aten::slice_scatter",
    "aten::select.int": "aten::select_scatter",
    "aten::diagonal": "aten::diagonal_scatter",
}
_OWN_INVERSES = {
    "aten::transpose.int", "aten::swapaxes", "aten::swapdims", "aten::t", "aten::numpy_T",
    "aten::mT",
}  # fmt: skip
_ORDER_KEEPING = {
    "aten::view", "aten::_unsafe_view", "aten::reshape", "aten::_reshape_alias",
    "aten::flatten.using_ints", "aten::unflatten.int", "aten::squeeze", "aten::squeeze.dim",
    "aten::squeeze.dims", "aten::view_as", "aten::reshape_as", "aten::ravel", "aten::expand",
    "aten::expand_as", "aten::broadcast_to",
}  # fmt: skip
# How the elements of a list of views are put together again, and which argument is the dimension.
_JOINS = {
    "aten::chunk": ("aten::cat", 2), "aten::split": ("aten::cat", 2),
    "aten::split.Tensor": ("aten::cat", 2), "aten::split.sizes": ("aten::cat", 2),
    "aten::split_with_sizes": ("aten::cat", 2), "aten::tensor_split.sections": ("aten::cat", 2),
    "aten::tensor_split.indices": ("aten::cat", 2), "aten::unbind.int": ("aten::stack", 1),
    "aten::unsafe_chunk": ("aten::cat", 2), "aten::unsafe_split.Tensor": ("aten::cat", 2),
    "aten::unsafe_split_with_sizes": ("aten::cat", 2),
}  # fmt: skip


def rebuild(view: Node, base: Value, new: Value, out: GraphBuilder) -> Value | None:
    """The value of `base` after its `view` became `new`; None where no inverse is known."""
    rest = view.inputs[1:]
    if view.name in _SCATTERS:
        return out.emit(_SCATTERS[view.name], "", (base, new, *rest), base)
    if view.name in _OWN_INVERSES:
        return out.emit(view.kind, view.overload, (new, *rest), base)
    if view.kind in ("aten::movedim", "aten::moveaxis"):
        return out.emit(view.kind, view.overload, (new, rest[1], rest[0]), base)
    if view.name == "aten::unsqueeze":
        return out.emit("aten::squeeze", "dim", (new, *rest), base)
    if view.name in _ORDER_KEEPING:
        return out.emit("aten::reshape_as", "", (new, base), base)
    if view.name == "aten::permute":
        return _permute_back(rest[0], base, new, out)
    if view.name == "aten::narrow":
        return _narrow_back(rest, base, new, out)
    return None


def _permute_back(dims: Value, base: Value, new: Value, out: GraphBuilder) -> Value | None:
    order = out.known(dims)
    if order is None:
        return None
    order = [d % len(order) for d in order]
    inverse = tuple(out.constant(order.index(i)) for i in range(len(order)))
    listed = out.emit("prim::ListConstruct", "", inverse, Value("", "List[int]"))
    return out.emit("aten::permute", "", (new, listed), base)


def _narrow_back(
    arguments: tuple[Value, ...], base: Value, new: Value, out: GraphBuilder
) -> Value | None:
    dim, start, length = (out.known(v) for v in arguments)
    if dim is None or start is None or length is None:
        return None
    end = start + length if start >= 0 or start + length < 0 else None
    inputs = (base, new, arguments[0], arguments[1], out.constant(end), out.constant(1))
    return out.emit("aten::slice_scatter", "", inputs, base)


def join(view: Node, parts: tuple[Value, ...], base: Value, out: GraphBuilder) -> Value | None:
    """The value of `base` whose `view` is the list of `parts`; None where no inverse is known."""
    if view.name not in _JOINS:
        return None
    kind, position = _JOINS[view.name]
    listed = out.emit("prim::ListConstruct", "", parts, Value("", "List[Tensor]"))
    return out.emit(kind, "", (listed, view.inputs[position]), base)
