"""The first pass, over the layout of images and the arguments of heavy operators.

Images go channels last, weights become packed arguments, heavy operators become tensor expressions.

A value with three or more dimensions may be held in two forms: as it is (`plain`), and with its
second dimension moved to the end (`last`). An operator takes the form it likes, and a transposition
is emitted only where the other one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from tvm import relax
from tvm.ir import GlobalVar

from .packing import Recipe
from .target import Cpu

Handler = Callable[["Rewriter", Any, list[Any]], "Value"]
HANDLERS: dict[str, Handler] = {}
_HEAVY = 4  # in TVM's numbers, what takes elementwise followers in


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register the rewriting of Relax operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update((name, handler) for name in names)
        return handler

    return register


@dataclass
class Value:
    """A value of the function.

    It is an expression in one or both forms, what to make of a weight, or a tuple.
    """

    plain: Any = None
    last: Any = None
    recipe: Recipe | None = None
    fields: list[Value] | None = None

    @property
    def shape(self) -> tuple[Any, ...] | None:
        """The shape of the plain form; None for what is not a tensor or has a dynamic shape."""
        if self.recipe is not None:
            return self.recipe.shape
        if self.fields is not None:
            return None
        found = static_shape(self.plain if self.plain is not None else self.last)
        if found is None or self.plain is not None:
            return found
        return (found[0], found[-1], *found[1:-1])

    @property
    def only_last(self) -> bool:
        """Whether the plain form would have to be made."""
        return self.plain is None and self.last is not None


def static_shape(expr: Any) -> tuple[int, ...] | None:
    """The shape of a Relax expression if it is a tensor with a static shape."""
    shape = getattr(getattr(expr, "ty", None), "shape", None)
    values = getattr(shape, "values", shape)
    if values is None:
        return None
    try:
        return tuple(int(v) for v in values)
    except (TypeError, ValueError):
        return None


def to_last(rank: int) -> list[int]:
    """The permutation from the plain to the channels-last form."""
    return [0, *range(2, rank), 1]


def to_plain(rank: int) -> list[int]:
    """The permutation back."""
    return [0, rank - 1, *range(1, rank - 1)]


class Rewriter:
    """Walks `main` once and writes the new one.

    `recipes` says how to make its arguments besides the inputs.
    """

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.bb = relax.BlockBuilder()
        self.env: dict[Any, Value] = {}
        self.recipes: list[Recipe] = []
        self.arguments: list[Any] = []
        self.joined: dict[tuple[int, ...], tuple[list[Value], Value]] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def run(self, mod: Any) -> Any:
        """The new module."""
        main = mod["main"]
        count = int(main.attrs["num_input"]) if "num_input" in (main.attrs or {}) else None
        inputs = list(main.params[:count])
        for gvar, func in mod.functions_items():
            if gvar.name_hint != "main":
                self.env[gvar] = Value(plain=self.bb.add_func(func, gvar.name_hint))
        for index, param in enumerate(main.params[len(inputs) :]):
            dtype = str(param.ty.dtype)
            self.env[param] = Value(recipe=Recipe(index, (), static_shape(param), dtype))
        fresh = [relax.Var(p.name, p.ty) for p in inputs]
        for old, new in zip(inputs, fresh, strict=True):
            self.env[old] = Value(plain=new)
        with self.bb.function("main"):
            with self.bb.dataflow():
                for block in main.body.blocks:
                    for binding in block.bindings:
                        self.env[binding.var] = self.binding(binding)
                out = self.bb.emit_output(self.plain_of(self.value(main.body.body)))
            self.bb.emit_func_output(out, [*fresh, *self.arguments])
        new = self.bb.get()
        attrs = {"num_input": len(inputs), "global_symbol": "main"}
        new["main"] = new["main"].with_attrs(attrs)
        return new

    def binding(self, binding: Any) -> Value:
        """The value that a binding gives."""
        if isinstance(binding, relax.MatchCast):
            expr = self.plain_of(self.value(binding.value))
            return Value(plain=self.bb.match_cast(expr, binding.ty))
        return self.value(binding.value)

    def value(self, expr: Any) -> Value:
        """The value of an expression."""
        if isinstance(expr, (relax.Var, GlobalVar)):
            return self.env[expr] if expr in self.env else Value(plain=expr)
        if type(expr).__name__ == "GenericConst":
            return self._constant(expr)
        if isinstance(expr, relax.Tuple):
            return Value(fields=[self.value(f) for f in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return self._item(expr)
        if isinstance(expr, relax.Call):
            return self._call(expr)
        if isinstance(expr, relax.If):
            raise TypeError("control flow inside a function")
        return Value(plain=expr)

    def _item(self, expr: Any) -> Value:
        value = self.value(expr.tuple_value)
        if value.fields is not None:
            return value.fields[int(expr.index)]
        if value.only_last:
            return Value(last=self.bb.emit(relax.TupleGetItem(value.last, expr.index)))
        return Value(plain=self.bb.emit(relax.TupleGetItem(self.plain_of(value), expr.index)))

    def _constant(self, expr: Any) -> Value:
        if not static_shape(expr):
            return Value(plain=expr)
        tensor = torch.from_dlpack(expr.value).clone()
        dtype = str(expr.ty.dtype)
        return Value(recipe=Recipe(-1, (), tuple(tensor.shape), dtype, tensor))

    def _call(self, call: Any) -> Value:
        values = [self.value(a) for a in call.args]
        handler = HANDLERS.get(getattr(call.op, "name", ""))
        if handler is not None:
            made = handler(self, call, values)
            if made is not None:
                return made
        args = [self.plain_of(v) for v in values]
        return Value(plain=self.bb.emit(again(call, args)))

    def emit(self, expr: Any) -> Any:
        """Bind an expression."""
        return self.bb.emit(expr)

    def tensor(self, function: Any, *arguments: Any, name: str, pattern: int = _HEAVY) -> Any:
        """Bind a tensor expression of expressions and then other arguments."""
        count = sum(isinstance(a, relax.Expr) for a in arguments)
        call = self.bb.call_te(
            lambda *tensors: function(*tensors, *arguments[count:]),
            *arguments[:count],
            primfunc_name_hint=name,
            primfunc_attrs={"op_pattern": pattern},
        )
        return self.bb.emit(call)

    def argument(self, recipe: Recipe) -> Any:
        """The argument that a recipe makes."""
        key = (recipe.source, id(recipe.constant), recipe.steps)
        if key not in self._made:
            name = f"w{len(self.arguments)}"
            var = relax.Var(name, relax.TensorType(recipe.shape, recipe.dtype))
            self._made[key] = var
            self.arguments.append(var)
            self.recipes.append(recipe)
        return self._made[key]

    def plain_of(self, value: Value) -> Any:
        """The plain form of a value."""
        if value.recipe is not None:
            return self.argument(value.recipe)
        if value.fields is not None:
            return relax.Tuple([self.plain_of(f) for f in value.fields])
        if value.plain is None:
            axes = to_plain(len(static_shape(value.last) or ()))
            value.plain = self.bb.emit(relax.op.permute_dims(value.last, axes))
        return value.plain

    def last_of(self, value: Value) -> Any:
        """The channels-last form of a value."""
        if value.recipe is not None:
            return self.argument(self.permuted(value.recipe, to_last(len(value.recipe.shape))))
        if value.last is None:
            axes = to_last(len(value.shape or ()))
            value.last = self.bb.emit(relax.op.permute_dims(value.plain, axes))
        return value.last

    def permuted(self, recipe: Recipe, axes: Sequence[int]) -> Recipe:
        """A recipe with its dimensions permuted."""
        shape = [recipe.shape[a] for a in axes]
        return recipe.then("permute", *axes, shape=shape)

    def reshaped(self, recipe: Recipe, shape: Sequence[int]) -> Recipe:
        """A recipe with another shape of the same size."""
        if prod(shape) != prod(recipe.shape):
            raise ValueError(f"cannot reshape {recipe.shape} to {tuple(shape)}")
        return recipe.then("reshape", *shape, shape=shape)


def again(call: Any, args: Sequence[Any]) -> Any:
    """The same call with other arguments."""
    return relax.Call(call.op, list(args), call.attrs, call.ty_args)
