"""The registry: which handler emits which node.

A handler is any callable ``handler(inputs, attributes, scope) -> list``. Handlers that users
register come before the built-in ones. A built-in operator is an ``Op``: a function ``(ctx,
*arguments)`` that normalises ATen's arguments and emits through the primitives of the context;
``emit`` adds an emitter for one backend only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from .context import current_context
from .errors import ConversionError

Handler = Callable[[Sequence[Any], Mapping[str, Any], str], list]
Emitter = Callable[..., Any]

_USER: dict[str, Handler] = {}
_BUILTIN: dict[str, Handler] = {}


class Op:
    """A built-in operator, called as ``op(ctx, *arguments)`` from others; constants give constants.

    Attributes:
        names: the ATen names it serves, "aten::sum.dim_IntList" or "aten::sum" for all overloads.
        function: the emitter for all backends that have no emitter of their own.
        emitters: by backend name, "tensorrt", "relax", "relay" or "tvm".
        numbers: the same on Python numbers and symbolic integers, for arithmetic on sizes;
            NotImplemented where the result is no size.
    """

    def __init__(
        self, names: Sequence[str], function: Emitter, numbers: Callable[..., Any] | None = None
    ):
        self.names = tuple(names)
        self.function = function
        self.numbers = numbers
        self.emitters: dict[str, Emitter] = {}
        self.__name__ = getattr(function, "__name__", names[0])
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"Op({', '.join(self.names)})"

    def __call__(self, ctx: Any, *arguments: Any, **keywords: Any) -> Any:
        if not has_symbolic(ctx, [*arguments, *keywords.values()]):
            return run_torch(self.names[0], arguments, keywords)
        for backend in ctx.lineage:
            if backend in self.emitters:
                return self.emitters[backend](ctx, *arguments, **keywords)
        return self.function(ctx, *arguments, **keywords)

    def emit(self, backend: str) -> Callable[[Emitter], Emitter]:
        """Decorator: the emitter of this operator for one backend."""

        def register(emitter: Emitter) -> Emitter:
            if backend in self.emitters:
                raise ConversionError(
                    f"{self!r} has an emitter for {backend} already: {self.emitters[backend]}"
                )
            self.emitters[backend] = emitter
            return emitter

        return register

    def handler(self, inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
        """The handler of this operator: a tuple of the emitter is several outputs."""
        result = self(current_context(), *inputs)
        return list(result) if isinstance(result, tuple) else [result]


def op(*names: str, numbers: Callable[..., Any] | None = None) -> Callable[[Emitter], Op]:
    """Decorator: make a function ``(ctx, *arguments)`` the built-in operator of some ATen names.

    Args:
        numbers: what the operator does to sizes, which the trace holds as 0-d tensors (``x.size(0)
            // 2``).
    """

    def register(function: Emitter) -> Op:
        operator = Op(names, function, numbers)
        for name in names:
            _register_builtin(name, operator.handler)
        return operator

    return register


def builtin_handler(*kinds: str) -> Callable[[Handler], Handler]:
    """Decorator: a built-in handler for all backends alike (of lists, tuples, numbers)."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            _register_builtin(kind, handler)
        return handler

    return register


def _register_builtin(name: str, handler: Handler) -> None:
    if name in _BUILTIN:
        raise ConversionError(f"{name} has a built-in handler already: {_BUILTIN[name]}")
    _BUILTIN[name] = handler


def register_node_handler(*kinds: str) -> Callable[[Handler], Handler]:
    """Decorator: register a handler of your own for one or more node kinds; it replaces any other.

    Args:
        kinds: "aten::sum" for all overloads, "aten::sum.dim_IntList" for one; in-place forms
            ("aten::relu_") are found under the name without the underscore.

    The handler is called as ``handler(inputs, attributes, scope)`` in every mode: ``inputs`` are
    the arguments in the order of the ATen schema, ``scope`` is a unique readable name. It returns
    the list of the node's outputs.

    Example:
        @torch2trt.register_node_handler("aten::my_relu")
        def my_relu(inputs, attributes, scope):
            return torch2trt.get_node_handler("aten::relu")(inputs, attributes, scope)

    Raises:
        ConversionError: a kind is none, or the handler cannot be called.
    """
    wrong = [kind for kind in kinds if not (isinstance(kind, str) and "::" in kind)]
    if wrong or not kinds:
        raise ConversionError(
            f"register_node_handler: got {wrong or 'nothing'}, expected node kinds such as"
            ' "aten::sum" or "aten::sum.dim_IntList"'
        )

    def register(handler: Handler) -> Handler:
        if not callable(handler):
            raise ConversionError(
                f"{kinds[0]}: got {handler!r}, expected a handler (inputs, attributes, scope)"
            )
        for kind in kinds:
            _USER[kind] = handler
        return handler

    return register


def unregister_node_handler(*kinds: str) -> None:
    """Drop handlers registered with ``register_node_handler``; the built-in ones serve again."""
    for kind in kinds:
        _USER.pop(kind, None)


def candidates(kind: str, overload: str = "") -> Iterator[str]:
    """The names under which a node is looked up, most specific first."""
    bare = kind[:-1] if kind.endswith("_") and not kind.endswith("__") else kind
    for name in dict.fromkeys((kind, bare)):
        if overload:
            yield f"{name}.{overload}"
        yield name


def user_handler(kind: str, overload: str = "") -> Handler | None:
    """The handler a user registered for this node, if any."""
    return next((_USER[name] for name in candidates(kind, overload) if name in _USER), None)


def builtin(kind: str, overload: str = "") -> Handler | None:
    """The built-in handler for this node, if any."""
    return next((_BUILTIN[name] for name in candidates(kind, overload) if name in _BUILTIN), None)


def get_node_handler(kind: str, overload: str = "") -> Handler:
    """The built-in handler of a node kind, to be wrapped by your own.

    Args:
        kind: "aten::sum", or with its overload "aten::sum.dim_IntList".
        overload: the overload, where it is not a part of `kind`.

    Raises:
        ConversionError: there is none.

    Example:
        (y,) = torch2trt.get_node_handler("aten::relu")([x], {}, "relu")
    """
    kind, _, inline = kind.partition(".")
    handler = builtin(kind, overload or inline)
    if handler is None:
        raise ConversionError(
            f"{kind}: no built-in handler; have {len(_BUILTIN)}, see `python -m torch2trt ops`"
        )
    return handler


def operators() -> dict[str, Op]:
    """All built-in operators by ATen name."""
    return {
        name: handler.__self__ for name, handler in sorted(_BUILTIN.items())
        if isinstance(getattr(handler, "__self__", None), Op)
    }  # fmt: skip


def has_symbolic(ctx: Any, values: Any) -> bool:
    """Whether a symbolic tensor or a symbolic integer of `ctx` is among `values`, at any depth."""
    if isinstance(values, (list, tuple)):
        return any(has_symbolic(ctx, value) for value in values)
    return ctx.is_tensor(values) or ctx.is_dim(values)


@lru_cache(maxsize=4096)
def torch_operator(name: str) -> Any:
    """The PyTorch operator "aten::sum.dim_IntList" (one overload) or "aten::sum" (resolved at each
    call); None if unknown."""
    kind, _, overload = name.partition(".")
    namespace, _, base = kind.partition("::")
    packet = getattr(getattr(torch.ops, namespace), base, None)
    return getattr(packet, overload, None) if overload and packet is not None else packet


@lru_cache(maxsize=4096)
def _keyword_names(operator: Any) -> tuple[int, tuple[str, ...]]:
    arguments = operator._schema.arguments
    names = tuple(a.name for a in arguments if a.kwarg_only)
    return len(arguments) - len(names), names


def run_torch(
    name: str, arguments: Sequence[Any], keywords: Mapping[str, Any] | None = None
) -> Any:
    """Run a PyTorch operator on constants, all arguments in the order of its schema.

    Raises:
        ConversionError: PyTorch has no such operator.
    """
    operator = torch_operator(name)
    if operator is None:
        raise ConversionError(f"{name}: PyTorch has no such operator")
    if hasattr(operator, "_schema"):
        arguments = _numbers_to_tensors(operator, arguments)
        count, names = _keyword_names(operator)
        keywords = {**dict(zip(names, arguments[count:])), **(keywords or {})}
        arguments = arguments[:count]
    with torch.no_grad():
        return operator(*arguments, **(keywords or {}))


def _numbers_to_tensors(operator: Any, arguments: Sequence[Any]) -> Sequence[Any]:
    """Python numbers where the schema wants tensors: as tensors that leave type promotion alone."""
    numbers = (bool, int, float, complex)
    slots = [
        i
        for i, (schema, value) in enumerate(zip(operator._schema.arguments, arguments))
        if isinstance(schema.type, torch._C.TensorType) and isinstance(value, numbers)
    ]
    if not slots:
        return arguments
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    converted = list(arguments)
    for slot in slots:
        number = arguments[slot]
        dtype = torch.result_type(tensors[0], number) if tensors else None
        if dtype is not None and dtype.is_floating_point and isinstance(number, int):
            dtype = None  # an integer leaves the type of a float; it may be a count or an index
        converted[slot] = as_tensor(number, dtype)
    return converted


def as_tensor(number: bool | int | float | complex, dtype: torch.dtype | None) -> torch.Tensor:
    """A number as a tensor; an integer out of the range of the dtype wraps, as in PyTorch."""
    if dtype is None or dtype.is_floating_point or dtype.is_complex:
        return torch.tensor(number, dtype=dtype)
    return torch.tensor(number).to(dtype)
