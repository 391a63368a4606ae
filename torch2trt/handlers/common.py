"""What the operators share: axes, shapes, type promotion, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch

from ..registry import as_tensor

# The numbers TorchScript writes for dtypes (c10::ScalarType).
_SCALAR_TYPES = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64,
    5: torch.float16, 6: torch.float32, 7: torch.float64,
    8: torch.complex32, 9: torch.complex64, 10: torch.complex128,
    11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip


def dtype_of(code: int | torch.dtype | None) -> torch.dtype | None:
    """The dtype behind a dtype argument of a traced node."""
    return _SCALAR_TYPES[code] if isinstance(code, int) else code


def rank(ctx: Any, x: Any) -> int:
    """The number of dimensions of a symbolic or constant tensor."""
    return len(shape(ctx, x))


def shape(ctx: Any, x: Any) -> tuple[Any, ...]:
    """The shape of a symbolic or constant tensor."""
    return ctx.shape(x) if ctx.is_tensor(x) else tuple(x.shape)


def dtype(ctx: Any, x: Any) -> torch.dtype:
    """The dtype of a symbolic or constant tensor."""
    return ctx.dtype(x) if ctx.is_tensor(x) else x.dtype


def axis(ctx: Any, x: Any, dim: int) -> int:
    """A dimension argument as a number from 0 on; a 0-d tensor has the one axis 0 as in PyTorch."""
    dims = max(rank(ctx, x), 1)
    if not -dims <= dim < dims:
        raise IndexError(f"dim: got {dim}, expected {-dims} to {dims - 1}")
    return dim % dims


def axes(ctx: Any, x: Any, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    """Dimensions as sorted axes; None and [] mean all of them. A 0-d tensor has none to reduce."""
    if not rank(ctx, x) or dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return tuple(range(rank(ctx, x)))
    return tuple(sorted(axis(ctx, x, d) for d in as_list(dims)))


def as_list(value: int | Sequence[int]) -> list[int]:
    """An argument that is one number or several, as a list."""
    return [value] if isinstance(value, int) else list(value)


def is_static(sizes: Iterable[Any]) -> bool:
    """Whether all sizes are numbers, none of them symbolic."""
    return all(isinstance(size, int) for size in sizes)


def is_size(size: Any, number: int) -> bool:
    """Whether a size is known to be `number`; a symbolic one is not."""
    return isinstance(size, int) and size == number


def is_number(ctx: Any, value: Any) -> bool:
    """Whether `value` is a Python number or a symbolic integer."""
    return isinstance(value, (bool, int, float, complex)) or ctx.is_dim(value)


@lru_cache(maxsize=256)
def _stand_in(dtype: torch.dtype, dims: int) -> torch.Tensor:
    return torch.empty((1,) * dims, dtype=dtype, device="meta")


def result_type(ctx: Any, *values: Any) -> torch.dtype:
    """PyTorch's type promotion over symbolic tensors, constants and numbers."""
    stand_ins = []
    for value in values:
        if ctx.is_dim(value):
            stand_ins.append(1)
        elif is_number(ctx, value):
            stand_ins.append(value)
        else:
            stand_ins.append(_stand_in(dtype(ctx, value), min(rank(ctx, value), 1)))
    return _result_type(stand_ins)


def _result_type(values: Sequence[Any]) -> torch.dtype:
    """torch.result_type of many values: dimensioned tensors first, then 0-d ones, then numbers."""
    dimensioned = [v for v in values if isinstance(v, torch.Tensor) and v.dim()]
    scalars = [v for v in values if isinstance(v, torch.Tensor) and not v.dim()]
    numbers = [v for v in values if not isinstance(v, torch.Tensor)]
    result: Any = None
    for group in (dimensioned, scalars):
        merged: Any = None
        for value in group:
            merged = value.dtype if merged is None else torch.promote_types(merged, value.dtype)
        if merged is not None:
            stand_in = _stand_in(merged, 1 if group is dimensioned else 0)
            result = merged if result is None else torch.result_type(_stand_in(result, 1), stand_in)
    for number in numbers:
        result = torch.result_type(number if result is None else _stand_in(result, 1), number)
    return result


def tensor(ctx: Any, value: Any, dtype: torch.dtype | None = None) -> Any:
    """Any value as an operand of the given dtype: tensors stay tensors, numbers become literals."""
    if ctx.is_tensor(value):
        return value if dtype is None else ctx.cast(value, dtype)
    if isinstance(value, torch.Tensor):
        return value if dtype is None else value.to(dtype)
    if ctx.is_dim(value):
        return tensor(ctx, ctx.reshape(ctx.size_tensor([value]), []), dtype)
    return ctx.literal(as_tensor(value, dtype))


def full(ctx: Any, sizes: Sequence[Any], value: Any, dtype: torch.dtype) -> Any:
    """`value` everywhere; a constant where the sizes are static and the value is a number."""
    if is_static(sizes) and not ctx.is_tensor(value) and not ctx.is_dim(value):
        return torch.as_tensor(value).to(dtype).expand(tuple(sizes))
    value = tensor(ctx, value, dtype)
    return ctx.expand(value if ctx.is_tensor(value) else ctx.literal(value), list(sizes))


def promote(ctx: Any, *values: Any, to: torch.dtype | None = None) -> list[Any]:
    """The values as operands of one dtype, `to` or what PyTorch would promote them to."""
    target = to or result_type(ctx, *values)
    return [tensor(ctx, value, target) for value in values]


def promote_floats(ctx: Any, *values: Any) -> list[Any]:
    """The values as operands of one float dtype: integers and bools as the default one."""
    kind = result_type(ctx, *values)
    return promote(ctx, *values, to=kind if kind.is_floating_point else torch.get_default_dtype())


def widened(ctx: Any, x: Any) -> Any:
    """Half precision as float32, in which PyTorch computes what it rounds once."""
    return tensor(ctx, x, torch.float32) if dtype(ctx, x) in (torch.float16, torch.bfloat16) else x


def to_float(ctx: Any, x: Any) -> Any:
    """Integers and bools as the default float dtype, as PyTorch's float functions take them."""
    kind = dtype(ctx, x)
    if kind.is_floating_point or kind.is_complex:
        return x
    return tensor(ctx, x, torch.get_default_dtype())


def full_list(value: int | Sequence[int], count: int) -> list[int]:
    """A per-dimension argument: one number stands for all dimensions."""
    values = as_list(value)
    return values * count if len(values) == 1 else values


def broadcast_shapes(*shapes: Sequence[Any]) -> list[Any]:
    """The broadcast of shapes that may be symbolic; a symbolic dimension wins over 1."""
    dims = max(map(len, shapes))
    result = []
    for position in range(dims):
        sizes = [s[position - dims + len(s)] for s in shapes if position - dims + len(s) >= 0]
        static = [s for s in sizes if isinstance(s, int) and s != 1]
        symbolic = [s for s in sizes if not isinstance(s, int)]
        result.append(static[0] if static else symbolic[0] if symbolic else 1)
    return result


def sizes_of(ctx: Any, x: Any, size: Sequence[Any]) -> list[Any]:
    """The target of a view or reshape with its -1 filled in."""
    size = list(size)
    if not any(is_size(s, -1) for s in size):
        return size
    hole = next(i for i, s in enumerate(size) if is_size(s, -1))
    total, given = map(product, _cancel(list(shape(ctx, x)), size[:hole] + size[hole + 1 :]))
    size[hole] = total if given == 1 else total // given
    return size


def _cancel(total: list[Any], given: list[Any]) -> tuple[list[Any], list[Any]]:
    """Drop symbolic factors that stand on both sides, so that static sizes stay static."""
    rest = []
    for size in given:
        factors = [] if isinstance(size, int) else total
        match = next((i for i, factor in enumerate(factors) if factor is size), None)
        if match is None:
            rest.append(size)
        else:
            total = total[:match] + total[match + 1 :]
    return total, rest


def product(sizes: Sequence[Any]) -> Any:
    """The product of sizes; one symbolic size among ones stays itself."""
    result: Any = 1
    for size in sizes:
        result = size if is_size(result, 1) else result * size
    return result


def numel(ctx: Any, x: Any, over: Sequence[int] | None = None) -> Any:
    """The number of elements, or their number along some axes."""
    sizes = shape(ctx, x)
    return product([sizes[a] for a in (range(len(sizes)) if over is None else over)])
