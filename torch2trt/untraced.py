"""What the tracer overlooks.

``tensor.data``, copies made by Python, DLPack and access to the memory are not recorded; neither
are writes through views without a declaration.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from .errors import UnsupportedOpError
from .graph import schema_facts, source_line
from .inplace import SIZES_ONLY
from .tracing_warnings import FromData, program_line

_NATIVE_DATA = torch._C.TensorBase.data
_NATIVE_VIEW = torch._C.TensorBase.view
_NATIVE_FROM_DLPACK = torch._C._from_dlpack
_NATIVE_CHECK = torch._check_with
_LOCK = threading.Lock()
_traces = 0  # that are under way, in all threads
_replaced: dict[str, Any] = {}  # attributes of torch.Tensor itself, while traces are under way
_exported: dict[int, tuple[Any, torch.Tensor]] = {}  # DLPack capsules and what they hold

# They may return (a view of) an input, and their schemas do not say so.
_UNDECLARED = {
    "aten::einsum", "aten::atleast_1d", "aten::atleast_2d", "aten::atleast_3d",
    "aten::broadcast_tensors", "aten::meshgrid", "aten::cartesian_prod", "aten::chain_matmul",
    "aten::unsafe_chunk", "aten::unsafe_split", "aten::unsafe_split_with_sizes",
}  # fmt: skip
_UNPACKS = ("prim::ListUnpack", "prim::TupleUnpack")
_NUMBERS = "__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy"
_FIXED = ("prim::Constant", "prim::TracedAttr", "prim::GetAttr")


# ---- what tensors do while they are traced -------------------------------------------------------
def _tracing() -> bool:
    """Whether this thread traces."""
    return torch._C._get_tracing_state() is not None


def _is_computed(tensor: torch.Tensor) -> bool:
    """Whether `tensor` is an input or made by an operation, as far as the trace knows."""
    try:
        return torch._C._get_value_trace(tensor).node().kind() not in _FIXED
    except RuntimeError:  # one that requires gradients cannot be a constant of a trace
        return False


def _warn(what: str) -> None:
    warnings.warn(what, torch.jit.TracerWarning, stacklevel=3)


def _data(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach() if _tracing() else _NATIVE_DATA.__get__(tensor)


def _set_data(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if _tracing() and not isinstance(tensor, nn.Parameter):
        raise UnsupportedOpError(
            f"tensor.data is assigned to, which a trace does not see ({program_line()})"
        )
    _NATIVE_DATA.__set__(tensor, value)


def _memory(tensor: torch.Tensor) -> int:
    """What tensors that share memory have in common."""
    if torch._C._has_storage(tensor):
        return torch._C.TensorBase.untyped_storage(tensor)._cdata
    return id(tensor)


def _deep_copy(tensor: torch.Tensor, memo: dict[Any, Any]) -> torch.Tensor:
    if id(tensor) in memo:
        return memo[id(tensor)]
    owners = memo.setdefault(_deep_copy, {})
    if owners.setdefault(_memory(tensor), tensor) is not tensor and _is_computed(tensor):
        _warn("Deep copies of tensors that share memory do not share memory in the trace")
    with torch.no_grad():
        copied = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    memo[id(tensor)] = copied
    if tensor.grad is not None:
        copied.grad = copy.deepcopy(tensor.grad, memo)
    copied.__dict__.update(copy.deepcopy(tensor.__dict__, memo))
    return copied


def _shallow_copy(tensor: torch.Tensor) -> torch.Tensor:
    alias = tensor.detach()
    alias = torch.Tensor._make_subclass(type(tensor), alias, tensor.requires_grad)
    alias.__dict__.update(tensor.__dict__)
    return alias


def _to_dlpack(tensor: torch.Tensor, *stream: Any, **options: Any) -> Any:
    capsule = _replaced["__dlpack__"](tensor, *stream, **options)
    _exported[id(capsule)] = capsule, tensor.clone() if options.get("copy") else tensor
    return capsule


def _from_dlpack(capsule: Any) -> torch.Tensor:
    tensor = _NATIVE_FROM_DLPACK(capsule)
    if not _tracing():
        return tensor
    _, source = _exported.pop(id(capsule), (None, None))
    if source is None or source.dtype != tensor.dtype:
        _warn("torch.from_dlpack results are registered as constants in the trace")
        return tensor
    alias = source.detach()
    return alias if alias.device == tensor.device else alias.to(tensor.device)


def _check_with(error: type[BaseException], condition: Any, message: Any) -> None:
    """PyTorch's checks of sizes, which are tensors in a trace; nothing depends on them."""
    if isinstance(condition, torch.Tensor) and (state := torch._C._get_tracing_state()):
        torch._C._set_tracing_state(None)
        try:
            condition = bool(condition)
        finally:
            torch._C._set_tracing_state(state)
    _NATIVE_CHECK(error, condition, message)


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    if _is_computed(tensor):
        _warn("Using the memory of a tensor might cause the trace to be incorrect")
    return torch._C.TensorBase.untyped_storage(tensor)


def _address(tensor: torch.Tensor) -> int:
    if _is_computed(tensor):
        _warn("Using the address of a tensor might cause the trace to be incorrect")
    return torch._C.TensorBase.data_ptr(tensor)


def _calls_python(name: str) -> Callable[..., Any]:
    """A method that writes what a Python function returns for each element."""
    native = getattr(torch._C.TensorBase, name)

    def method(tensor: torch.Tensor, *args: Any) -> torch.Tensor:
        if _is_computed(tensor) or any(_is_computed(v) for v in args[:-1]):
            raise UnsupportedOpError(
                f"tensor.{name} calls Python for each element, which a trace does not see "
                f"({program_line()})"
            )
        return native(tensor, *args)

    return method


def _view(tensor: torch.Tensor, *shape: Any, **named: Any) -> torch.Tensor:
    dtype = named.get("dtype", shape[0] if shape else None)
    if not isinstance(dtype, torch.dtype):
        return _NATIVE_VIEW(tensor, *shape, **named)
    if dtype != tensor.dtype:
        raise UnsupportedOpError(
            f"x.view({dtype}) reads the bytes of a {tensor.dtype} tensor as another type, which"
            f" has no counterpart ({program_line()})"
        )
    return _NATIVE_VIEW(tensor, tensor.shape)


def _number(name: str) -> Callable[..., Any]:
    """A method that gives Python numbers, which tells of it where they come from data."""

    def method(tensor: torch.Tensor, *args: Any, **named: Any) -> Any:
        if _is_from_data(tensor):
            warnings.warn(f"tensor.{name} of data", FromData, stacklevel=2)
        return getattr(torch._C.TensorBase, name)(tensor, *args, **named)

    return method


def _is_from_data(tensor: torch.Tensor) -> bool:
    """Whether values of the inputs, and not only their sizes, make this tensor."""
    waiting, seen = [torch._C._get_value_trace(tensor)], set()
    while waiting:
        value = waiting.pop()
        node = value.node()
        if node.kind() == "prim::Param":
            return True
        if value.debugName() not in seen and node.kind() not in SIZES_ONLY:
            seen.add(value.debugName())
            waiting.extend(node.inputs())
    return False


class _WhileTracing:
    """A method of tensors: `replacement` in a thread that traces, what it was in all others."""

    def __init__(self, name: str, replacement: Callable[..., Any]):
        self.name, self.replacement = name, replacement

    def __get__(self, tensor: torch.Tensor | None, owner: type) -> Any:
        method = self.replacement if _tracing() else self._native()
        return method.__get__(tensor, owner)

    def _native(self) -> Any:
        native = _replaced[self.name] or getattr(torch._C.TensorBase, self.name, None)
        if native is None:
            raise AttributeError(f"type object 'Tensor' has no attribute {self.name!r}")
        return native


_METHODS = {
    "__deepcopy__": _deep_copy,
    "__copy__": _shallow_copy,
    "__dlpack__": _to_dlpack,
    "untyped_storage": _storage,
    "data_ptr": _address,
    "view": _view,
    **{name: _calls_python(name) for name in ("apply_", "map_", "map2_")},
    **{name: _number(name) for name in _NUMBERS},
}
_ATTRIBUTES: dict[str, Any] = {
    "data": property(_data, _set_data),
    **{name: _WhileTracing(name, method) for name, method in _METHODS.items()},
}


@contextlib.contextmanager
def overlooked_is_traced() -> Iterator[None]:
    """Record what the tracer overlooks, or tell of it, in a thread that traces.

    ``tensor.data``, ``copy.copy``, ``copy.deepcopy`` and ``torch.from_dlpack`` would give
    constants; memory and addresses are warned about, as the tracer does for ``tensor.numpy()``.
    """
    global _traces
    with _LOCK:
        _traces += 1
        if _traces == 1:
            _replace()
    try:
        yield
    finally:
        with _LOCK:
            _traces -= 1
            if not _traces:
                _restore()


def _replace() -> None:
    for name, attribute in _ATTRIBUTES.items():
        _replaced[name] = torch.Tensor.__dict__.get(name)
        setattr(torch.Tensor, name, attribute)
    torch._C._from_dlpack = _from_dlpack
    torch._check_with = _check_with


def _restore() -> None:
    torch._C._from_dlpack = _NATIVE_FROM_DLPACK
    torch._check_with = _NATIVE_CHECK
    for name in _ATTRIBUTES:
        native = _replaced[name]
        if native is None:
            delattr(torch.Tensor, name)
        else:
            setattr(torch.Tensor, name, native)
    _exported.clear()


# ---- writes through views ------------------------------------------------------------------------
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
