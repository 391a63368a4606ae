"""Pooling, fixed and adaptive."""

from __future__ import annotations

from ..registry import op
from .common import full_list, rank, shape
from .elementwise import mul
from .shape import cat, narrow_to, unsqueeze


def _batched(ctx, x, spatial, pool):
    """Run `pool` on [N, C, *spatial]; an unbatched input gets a batch dimension for the while."""
    if rank(ctx, x) == spatial + 2:
        return pool(x)
    result = pool(unsqueeze(ctx, x, 0))
    return ctx.reshape(result, shape(ctx, result)[1:])


def _pools(spatial: int):
    """The pooling operators of one number of spatial dimensions."""

    @op(f"aten::max_pool{spatial}d")
    def max_pool(ctx, x, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
        """max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1,
        bool ceil_mode=False) -> Tensor"""
        kernel = full_list(kernel_size, spatial)
        window = kernel, full_list(stride, spatial) or kernel, full_list(padding, spatial), full_list(dilation, spatial)
        return _batched(ctx, x, spatial, lambda v: ctx.max_pool(v, *window, ceil_mode))

    @op(f"aten::avg_pool{spatial}d")
    def avg_pool(
        ctx, x, kernel_size, stride=(), padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        """avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False,
        bool count_include_pad=True, int? divisor_override=None) -> Tensor"""
        kernel = full_list(kernel_size, spatial)
        window = kernel, full_list(stride, spatial) or kernel, full_list(padding, spatial)
        if divisor_override is not None:
            return _sum_pool(ctx, x, spatial, *window, ceil_mode, divisor_override)
        return _batched(ctx, x, spatial, lambda v: ctx.avg_pool(v, *window, ceil_mode, count_include_pad))

    @op(f"aten::adaptive_avg_pool{spatial}d", *([f"aten::_adaptive_avg_pool{spatial}d"] if spatial > 1 else []))
    def adaptive_avg_pool(ctx, x, output_size):
        """adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor"""
        return _adaptive(ctx, x, spatial, output_size, "mean")

    return max_pool, avg_pool, adaptive_avg_pool


max_pool1d, avg_pool1d, adaptive_avg_pool1d = _pools(1)
max_pool2d, avg_pool2d, adaptive_avg_pool2d = _pools(2)
max_pool3d, avg_pool3d, adaptive_avg_pool3d = _pools(3)


def _sum_pool(ctx, x, spatial, kernel, stride, padding, ceil_mode, divisor):
    """Average pooling with a fixed divisor; where ceil_mode adds partial windows the plain divisor would vary."""
    if ceil_mode:
        raise ctx.refuse("avg_pool with divisor_override and ceil_mode")
    count = 1
    for size in kernel:
        count *= size
    average = _batched(ctx, x, spatial, lambda v: ctx.avg_pool(v, kernel, stride, padding, False, True))
    return mul(ctx, average, count / divisor)


def _adaptive(ctx, x, spatial, output_size, name):
    """Adaptive pooling: one reduction, one pooling where windows are even, else one reduction per output position."""
    first = rank(ctx, x) - spatial
    target = full_list(output_size, spatial)
    over = [first + i for i in range(spatial) if isinstance(target[i], int) and target[i] == 1]
    if len(over) == spatial:
        return ctx.reduce(name, x, over, True)
    sizes = shape(ctx, x)[first:]
    if not all(isinstance(s, int) for s in [*sizes, *target]):
        raise ctx.refuse("adaptive pooling to more than one position over a dynamic size")
    if all(s % t == 0 for s, t in zip(sizes, target)):
        window = [s // t for s, t in zip(sizes, target)]
        if window == [1] * spatial:
            return x
        pool = ctx.avg_pool if name == "mean" else ctx.max_pool
        extra = (False, True) if name == "mean" else ([1] * spatial, False)
        return _batched(ctx, x, spatial, lambda v: pool(v, window, window, [0] * spatial, *extra))
    for i, (size, count) in enumerate(zip(sizes, target)):
        bounds = [(p * size // count, -(-(p + 1) * size // count)) for p in range(count)]
        parts = [ctx.reduce(name, narrow_to(ctx, x, first + i, a, b - a), [first + i], True) for a, b in bounds]
        x = cat(ctx, parts, first + i)
    return x
