"""What the tracer overlooks: ``tensor.data``, and writes through views without a declaration."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .errors import UnsupportedOpError
from .graph import schema_facts, source_line

_NATIVE_DATA = torch._C.TensorBase.data
_LOCK = threading.Lock()
_traces = 0  # that are under way, in all threads

# They may return (a view of) an input, and their schemas do not say so.
_UNDECLARED = {
    "aten::einsum", "aten::atleast_1d", "aten::atleast_2d", "aten::atleast_3d",
    "aten::broadcast_tensors", "aten::meshgrid", "aten::cartesian_prod", "aten::chain_matmul",
    "aten::unsafe_chunk", "aten::unsafe_split", "aten::unsafe_split_with_sizes",
}  # fmt: skip
_UNPACKS = ("prim::ListUnpack", "prim::TupleUnpack")


def _data(tensor: torch.Tensor) -> torch.Tensor:
    if torch._C._get_tracing_state() is None:
        return _NATIVE_DATA.__get__(tensor)
    return tensor.detach()


def _set_data(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if torch._C._get_tracing_state() is not None and not isinstance(tensor, nn.Parameter):
        raise UnsupportedOpError("tensor.data is assigned to, which a trace does not see")
    _NATIVE_DATA.__set__(tensor, value)


@contextlib.contextmanager
def data_is_traced() -> Iterator[None]:
    """``tensor.data`` is ``tensor.detach()`` for a thread that traces; to the tracer it would be a
    constant.
    """
    global _traces
    with _LOCK:
        _traces += 1
        torch.Tensor.data = property(_data, _set_data)
    try:
        yield
    finally:
        with _LOCK:
            _traces -= 1
            if not _traces:
                del torch.Tensor.data


def undeclared_writes(graph: Any) -> Counter[str]:
    """The in-place operations on results of operators that may return a view and do not say so.

    TorchScript takes such a result for memory of its own, and drops a write to it that nothing
    seems to read.

    Args:
        graph: a TorchScript graph, while it is traced or afterwards.
    """
    makers = {output.debugName(): node for node in graph.nodes() for output in node.outputs()}
    found: Counter[str] = Counter()
    for node in graph.nodes():
        for position in schema_facts(node.schema())[1]:
            maker = _undeclared_view(list(node.inputs())[position], makers)
            if maker is not None:
                line = source_line(node.sourceRange())
                found[f"{node.kind()} ({line}) writes to the result of {maker.kind()}"] += 1
    return found


def _undeclared_view(value: Any, makers: dict[str, Any]) -> Any:
    """The operator whose undeclared view `value` is, itself or through other views."""
    node = makers.get(value.debugName())
    while node is not None and node.kind() not in _UNDECLARED:
        views = (0,) if node.kind() in _UNPACKS else schema_facts(node.schema())[2]
        if not views:
            return None
        node = makers.get(list(node.inputs())[views[0]].debugName())
    return node


def check_no_write_was_dropped(before: Counter[str], graph: Any) -> None:
    """Compare the graph that TorchScript made with what was traced.

    Args:
        before: the undeclared writes when the program ended.
        graph: what TorchScript made of it.

    Raises:
        UnsupportedOpError: some are gone.
    """
    dropped = before - undeclared_writes(graph)
    if dropped:
        reasons = [f"{write}, which may be a view; clone it first" for write in sorted(dropped)]
        raise UnsupportedOpError("in-place writes that a trace does not keep:", reasons)
