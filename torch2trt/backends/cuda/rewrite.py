"""The first pass for CUDA: images go channels last, heavy operators become library calls.

A convolution or product is held open until somebody reads it, so that a bias, another tensor or a
ReLU that follows may join it. How it is then run, and how much of the epilogue goes with it, is the
chooser's to say; what remains is emitted as plain operators, which TVM fuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from tvm import relax, te, topi
from tvm.relax.expr_functor import PyExprVisitor, visitor

from ..schedules import operators as _operators
from ..schedules.conv import ConvSpec, as_padding, as_pair
from ..schedules.layout import Rewriter, Value, again, static_shape
from .library import Convolution, Epilogue, Library, Operator, Product
from .normal import Strided

Choose = Callable[[Operator, Sequence[tuple[tuple[int, ...], str]], Epilogue], tuple[str, Epilogue]]
OWN: dict[str, Callable[[Any, Any, list[Value]], Value | None]] = {}
_NOT_FOR_CUDA = {"relax.nn.conv2d", "relax.nn.conv1d", "relax.matmul"}


@dataclass
class Open(Value):
    """A library operator that is not emitted yet.

    Attributes:
        operands: image or first matrix, weight or second matrix.
        epilogue: what is to be done with the result, with the values `extra` in their order.
        full: the plain shape of the result.
        dtype: of the result.
        narrow: where float32 operands were made of half precision, these, and how they are read.
    """

    operator: Operator | None = None
    operands: list[Any] = field(default_factory=list)
    epilogue: Epilogue = field(default_factory=Epilogue)
    extra: list[Value] = field(default_factory=list)
    full: tuple[int, ...] = ()
    dtype: str = ""
    narrow: tuple[Any, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.full


@dataclass
class View(Value):
    """A value that a library call can read through a view, emitted when something else wants it.

    Attributes:
        base: the expression that is read.
        meta: the view, as a tensor without memory.
        wide: whether the value is float32 and the base half precision.
        call: the last operator of the view, applied to `parent`.
    """

    base: Any = None
    meta: Any = None
    wide: bool = False
    call: Any = None
    parent: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.meta.shape)

    def emit(self, rw: LibraryRewriter) -> Any:
        """The value as an expression."""
        old = static_shape(self.base)
        whole = (
            self.meta.is_contiguous()
            and not self.meta.storage_offset()
            and prod(old) == self.meta.numel()
        )
        if whole and not self.wide:
            return (
                self.base
                if old == self.shape
                else rw.emit(relax.op.reshape(self.base, list(self.shape)))
            )
        return rw.emit(again(self.call, [rw.plain_of(self.parent), *self.call.args[1:]]))


def own(*names: str) -> Callable[[Any], Any]:
    """Register the rewriting of Relax operators for CUDA."""

    def register(handler: Any) -> Any:
        OWN.update((name, handler) for name in names)
        return handler

    return register


class LibraryRewriter(Rewriter):
    """Walks `main` once and writes the new one.

    Attributes:
        libraries: the library calls by the name under which the new function calls them.
    """

    def __init__(self, choose: Choose) -> None:
        super().__init__(None)
        self.choose = choose
        self.libraries: dict[str, Library] = {}
        self._uses: Counter[Any] = Counter()

    def run(self, mod: Any) -> Any:
        """The new module."""
        counter = _Uses()
        counter.visit_expr(mod["main"])
        self._uses = counter.uses
        return super().run(mod)

    def sole(self, argument: Any) -> bool:
        """Whether nothing else reads the value of an argument."""
        return self._uses[argument] == 1

    def settled(self, value: Value) -> Value:
        """The value with what it holds open emitted."""
        if value.fields is not None:
            for part in value.fields:
                self.settled(part)
        elif isinstance(value, Open) and value.operator is not None:
            made = _emit_open(self, value)
            value.plain, value.last, value.operator = made.plain, made.last, None
        elif hasattr(value, "emit") and value.plain is None:
            value.plain = value.emit(self)
        return value

    def plain_of(self, value: Value) -> Any:
        return super().plain_of(self.settled(value))

    def last_of(self, value: Value) -> Any:
        return super().last_of(self.settled(value))

    def _item(self, expr: Any) -> Value:
        self.settled(self.value(expr.tuple_value))
        return super()._item(expr)

    def _call(self, call: Any) -> Value:
        name = getattr(call.op, "name", "")
        values = [self.value(a) for a in call.args]
        made = OWN[name](self, call, values) if name in OWN else None
        if made is not None:
            return made
        for value in values:
            self.settled(value)
        if name in _NOT_FOR_CUDA:
            return Value(plain=self.bb.emit(again(call, [self.plain_of(v) for v in values])))
        return super()._call(call)

    def operand(self, value: Value) -> tuple[Any, Strided]:
        """The expression of a product's operand, and how it is read."""
        if isinstance(value, View) and not value.wide:
            return value.base, Strided.of(value.meta)
        if (
            value.recipe is not None
            and value.recipe.steps
            and value.recipe.steps[-1] == ("permute", 1, 0)
        ):
            steps, (rows, columns) = value.recipe.steps[:-1], value.recipe.shape
            stored = replace(value.recipe, steps=steps, shape=(columns, rows))
            return self.argument(stored), Strided((rows, columns), (1, rows))
        plain = self.plain_of(value)
        return plain, Strided.of(torch.empty(static_shape(plain), device="meta"))

    def library(
        self, library: Library, arguments: Sequence[Any], shape: Sequence[int], dtype: str
    ) -> Any:
        """Bind a library call."""
        name = f"library_{len(self.libraries)}_{library.name}"
        self.libraries[name] = library
        return self.bb.emit(
            relax.call_dps_packed(name, list(arguments), relax.TensorType(list(shape), dtype))
        )


@visitor
class _Uses(PyExprVisitor):
    """How often each variable is read."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[Any] = Counter()

    def visit_var_(self, var: Any) -> None:
        self.uses[var] += 1

    def visit_dataflow_var_(self, var: Any) -> None:
        self.uses[var] += 1


_LAYOUTS = {1: ("NCW", "OIW"), 2: ("NCHW", "OIHW"), 3: ("NCDHW", "OIDHW")}


@own("relax.nn.conv1d", "relax.nn.conv2d", "relax.nn.conv3d")
def _conv(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    x, weight = values
    attrs, shape = call.attrs, static_shape(call)
    rank = len(shape or ()) - 2
    if shape is None or (str(attrs.data_layout), str(attrs.kernel_layout)) != _LAYOUTS[rank]:
        return None
    if str(call.args[0].ty.dtype) not in ("float32", "float16", "bfloat16", "float64"):
        return None
    if rank == 2 and weight.recipe is not None:
        return _image_conv(rw, call, x, weight)
    pads = [int(p) for p in attrs.padding]
    operator = Convolution(
        stride=tuple(int(s) for s in attrs.strides),
        padding=tuple(zip(pads[:rank], pads[rank:])),
        dilation=tuple(int(d) for d in attrs.dilation),
        groups=int(attrs.groups),
        last=False,
    )
    return Open(
        operator=operator,
        operands=[rw.plain_of(x), rw.plain_of(weight)],
        full=shape,
        dtype=str(call.ty.dtype),
    )


def _image_conv(rw: LibraryRewriter, call: Any, x: Value, weight: Value) -> Value:
    attrs = call.attrs
    image, (outputs, depth, *kernel) = rw.last_of(x), weight.recipe.shape
    top, left, bottom, right = as_padding(attrs.padding)
    spec = ConvSpec(
        strides=as_pair(attrs.strides),
        padding=(top, left, bottom, right),
        dilation=as_pair(attrs.dilation),
        groups=int(attrs.groups),
        kernel=tuple(kernel),
        channels=depth * int(attrs.groups),
        outputs=outputs,
    )
    dtypes = {str(call.ty.dtype), str(image.ty.dtype)}
    if spec.depthwise and len(dtypes) == 1:
        packed = weight.recipe.then("depthwise", shape=(*kernel, outputs))
        return Value(last=rw.tensor(depthwise, image, rw.argument(packed), spec, name="depthwise"))
    operator = Convolution(
        stride=spec.strides,
        padding=((top, bottom), (left, right)),
        dilation=spec.dilation,
        groups=spec.groups,
        last=True,
    )
    operands = [image, rw.argument(rw.permuted(weight.recipe, (0, 2, 3, 1)))]
    return Open(
        operator=operator, operands=operands, full=static_shape(call), dtype=str(call.ty.dtype)
    )


def depthwise(x: Any, weight: Any, spec: ConvSpec) -> Any:
    """x (N, H, W, C) with a weight (KH, KW, C), each channel by itself."""
    images, height, width, channels = (int(d) for d in x.shape)
    top, left, bottom, right = spec.padding
    source = (
        topi.nn.pad(x, [0, top, left, 0], [0, bottom, right, 0], name="padded")
        if any(spec.padding)
        else x
    )
    ry, rx = te.reduce_axis((0, spec.kernel[0]), "ry"), te.reduce_axis((0, spec.kernel[1]), "rx")

    def element(n: Any, h: Any, w: Any, c: Any) -> Any:
        y, z = (
            h * spec.strides[0] + ry * spec.dilation[0],
            w * spec.strides[1] + rx * spec.dilation[1],
        )
        return te.sum(source[n, y, z, c] * weight[ry, rx, c], axis=[ry, rx])

    return te.compute((images, *spec.out(height, width), channels), element, name="depthwise")


@own("relax.matmul")
def _matmul(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    shape = static_shape(call)
    shapes = [v.shape for v in values]
    if shape is None or any(s is None or len(s) < 2 or not prod(s) for s in shapes):
        return None
    if str(call.args[0].ty.dtype) not in ("float32", "float16", "bfloat16", "float64"):
        return None
    made = attention(rw, call, values)
    if made is not None:
        return made
    (a, first), (b, second) = [rw.operand(v) for v in values]
    wide = all(isinstance(v, View) and v.wide for v in values)
    return Open(
        operator=Product(first, second),
        operands=[a, b],
        full=shape,
        dtype=str(call.ty.dtype),
        narrow=tuple((v.base, Strided.of(v.meta)) for v in values) if wide else (),
    )


def _emit_open(rw: LibraryRewriter, value: Open) -> Value:
    """The library call that the chooser wants, and the rest of the epilogue as operators."""
    last = isinstance(value.operator, Convolution) and value.operator.last
    form = rw.last_of if last else rw.plain_of
    extra = [rw.plain_of(v) if v.recipe is not None else form(v) for v in value.extra]
    facts = [(static_shape(e), str(e.ty.dtype)) for e in (*value.operands, *extra)]
    way, taken = rw.choose(value.operator, facts, value.epilogue)
    library = Library(
        value.operator, way, taken, getattr(torch, value.dtype), search=way == "plain"
    )
    pending = list(extra)
    arguments = [*value.operands]
    for part in ("bias", "residual"):
        if getattr(taken, part):
            arguments.append(pending.pop(0))
    shape = (value.full[0], *value.full[2:], value.full[1]) if last else value.full
    made = rw.library(library, arguments, shape, value.dtype)
    return _rest(rw, value, made, taken, pending, last)


def _rest(
    rw: LibraryRewriter, value: Open, made: Any, taken: Epilogue, extra: list[Any], last: bool
) -> Value:
    wanted = value.epilogue
    if wanted.bias and not taken.bias:
        bias = extra.pop(0)
        if not last and isinstance(value.operator, Convolution):
            bias = rw.emit(relax.op.reshape(bias, [1, -1, *[1] * (len(value.full) - 2)]))
        made = rw.emit(relax.op.add(made, bias))
    if wanted.residual and not taken.residual:
        made = rw.emit(relax.op.add(made, extra.pop(0)))
    if wanted.relu and not taken.relu:
        made = rw.emit(relax.op.nn.relu(made))
    return Value(last=made) if last else Value(plain=made)


from . import epilogues  # noqa: E402 - they register their operators with what is above
from .views import attention  # noqa: E402

_ = _operators, epilogues  # importing them fills the tables of operators
