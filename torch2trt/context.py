"""The active context: what a walk over a graph emits into.

With no context, or inside ``torch_network()``, a ``GraphModule`` runs in PyTorch (debug mode).
Inside ``trt_network(net)`` it adds layers to ``net``; inside ``tvm_network()`` it builds a TVM
function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .errors import ConversionError

if TYPE_CHECKING:
    from .backends.base import Context

_ACTIVE: ContextVar[Context | None] = ContextVar("torch2trt_context", default=None)


def current_context() -> Context:
    """The active context; the PyTorch context when none was entered.

    Example:
        torch2trt.current_context().name  # "torch", "tensorrt", "relax" or "relay"
    """
    context = _ACTIVE.get()
    if context is None:
        from .backends.pytorch import TORCH_CONTEXT

        return TORCH_CONTEXT
    return context


@contextmanager
def use_context(context: Context) -> Iterator[Context]:
    """Make `context` the active one; the former comes back on exit, also after an exception."""
    token = _ACTIVE.set(context)
    try:
        yield context
    finally:
        _ACTIVE.reset(token)


@contextmanager
def trt_network(network: Any, **options: Any) -> Iterator[Any]:
    """Emit TensorRT layers into `network` while the block runs.

    A network without an error recorder has one inside the block only. Parse ONNX files into it
    before or after the block: an ``OnnxParser`` made inside uses that recorder again when all is
    deleted.

    Args:
        network: a ``tensorrt.INetworkDefinition``, explicit batch.
        **options: passed to ``TensorRTContext``.

    Yields:
        The network itself; the context is ``current_context()``.

    Example:
        program = torch2trt.GraphModule(net, x)
        with torch2trt.trt_network(network):
            y = program(network.add_input("image", trt.float32, tuple(x.shape)))
        network.mark_output(y)
    """
    from .backends.tensorrt import TensorRTContext

    unrecorded = network.error_recorder is None
    with use_context(TensorRTContext(network, **options)):
        try:
            yield network
        finally:
            if unrecorded:
                network.error_recorder = None


@contextmanager
def tvm_network(dialect: str | None = None, **options: Any) -> Iterator[Context]:
    """Emit a TVM function while the block runs.

    Args:
        dialect: "relax" or "relay"; by default what the installed TVM has, Relax first.
        **options: passed to the context.

    Yields:
        The context, whose ``tvm_weight_dict`` holds the weights by variable.

    Raises:
        BackendUnavailableError: no TVM, or one without that dialect.

    Example:
        program = torch2trt.GraphModule(net, x)
        with torch2trt.tvm_network() as context:
            y = program(context.input("image", tuple(x.shape), x.dtype))
            module = context.finish([y])
    """
    from .backends import tvm_context_class

    with use_context(tvm_context_class(dialect)(**options)) as context:
        yield context


@contextmanager
def torch_network() -> Iterator[Context]:
    """Run in PyTorch while the block runs, also inside another context.

    Yields:
        The PyTorch context.

    Example:
        program = torch2trt.GraphModule(net, x)
        with torch2trt.trt_network(network), torch2trt.torch_network():
            y = program(x)  # a torch tensor; nothing is added to the network
    """
    from .backends.pytorch import TORCH_CONTEXT

    with use_context(TORCH_CONTEXT) as context:
        yield context


def _leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from _leaves(value)
    elif isinstance(values, dict):
        yield from _leaves(list(values.values()))
    else:
        yield values


def _library(value: Any) -> str:
    return type(value).__module__.split(".")[0]


def has_trt_tensor(values: Any) -> bool:
    """Whether a ``tensorrt.ITensor`` is among `values`, at any depth of lists, tuples and dicts.

    Example:
        image = network.add_input("image", trt.float32, (1, 3, 8, 8))
        torch2trt.has_trt_tensor([x, {"image": image}])  # True
    """
    return any(
        _library(v).startswith("tensorrt") and type(v).__name__ == "ITensor"
        for v in _leaves(values)
    )


def has_tvm_tensor(values: Any) -> bool:
    """Whether a TVM expression is among `values`, at any depth of lists, tuples and dicts.

    Example:
        with torch2trt.tvm_network() as context:
            image = context.input("image", (1, 3, 8, 8), torch.float32)
        torch2trt.has_tvm_tensor([x, {"image": image}])  # True
    """
    for value in _leaves(values):
        if _library(value) == "tvm":
            from .backends import is_tvm_expr

            if is_tvm_expr(value):
                return True
    return False


def has_torch_tensor(values: Any) -> bool:
    """Whether a ``torch.Tensor`` is among `values`, at any depth of lists, tuples and dicts.

    Example:
        torch2trt.has_torch_tensor([1, {"image": x}])  # True
    """
    import torch

    return any(isinstance(v, torch.Tensor) for v in _leaves(values))


def check_not_mixed(context: Context, values: Any, where: str) -> None:
    """Refuse symbolic tensors of another library than the active context's.

    Raises:
        ConversionError: an ITensor outside ``trt_network``, or a TVM expression outside
            ``tvm_network``.
    """
    if has_trt_tensor(values) and not context.is_tensorrt:
        raise ConversionError(
            f"{where}: got a TensorRT ITensor, but the active context is {context.name!r}; call "
            "it inside `with torch2trt.trt_network(network):`"
        )
    if has_tvm_tensor(values) and not context.is_tvm:
        raise ConversionError(
            f"{where}: got a TVM expression, but the active context is {context.name!r}; call it "
            "inside `with torch2trt.tvm_network():`"
        )
