"""Resizing and sampling: upsample in all modes, antialiased resizing, grid_sample, affine_grid."""

from __future__ import annotations

from fractions import Fraction

import torch

from ..registry import op
from .common import dtype, is_static, rank, shape, tensor
from .linear import matmul
from .shape import reshape, transpose


def _scaled(ctx, size, factor):
    """floor(size * factor) as PyTorch computes it."""
    if isinstance(size, int):
        return int(size * factor)
    ratio = Fraction(factor)
    if ratio.denominator > 64:
        raise ctx.refuse(
            f"resizing a dynamic size by {factor}; give the size, or a factor that is a simple "
            "fraction"
        )
    return size * ratio.numerator // ratio.denominator


def _resize(ctx, x, mode, size, align_corners, scales):
    """`size` or `scales` may be None; factors above 0 count for the sample positions."""
    sizes = list(shape(ctx, x))[2:]
    scales = [f if f and f > 0 else None for f in scales or [None] * len(sizes)]
    if size is None:
        size = [_scaled(ctx, s, f) for s, f in zip(sizes, scales)]
    same = [isinstance(old, int) and old == new for old, new in zip(sizes, size)]
    if mode == "linear" or (mode == "nearest" and len(sizes) == 2 and all(same)):
        # Where no size changes, PyTorch copies, whatever the factor is.
        scales = [None if kept else factor for kept, factor in zip(same, scales)]
    return ctx.resize(x, list(size), mode, bool(align_corners), scales)


def upsample(*names: str, mode: str, corners: bool) -> None:
    """A table row: one mode, whose operators take `align_corners` or not."""

    @op(*[f"{name}.vec" for name in names])
    def by_factors(ctx, x, output_size, *rest):
        """upsample_*.vec(Tensor input, SymInt[]? output_size, [bool align_corners,]
        float[]? scale_factors)"""
        return _resize(ctx, x, mode, output_size, corners and rest[0], rest[-1])

    @op(*names)
    def by_size(ctx, x, output_size, *rest):
        """upsample_*(Tensor self, SymInt[] output_size, [bool align_corners,] float? scales...)
        -> Tensor"""
        scales = list(rest[1:] if corners else rest)
        return _resize(ctx, x, mode, output_size, corners and rest[0], scales or None)


_NEAREST = [f"aten::upsample_nearest{n}d" for n in (1, 2, 3)]
_NEAREST_EXACT = [f"aten::_upsample_nearest_exact{n}d" for n in (1, 2, 3)]
_LINEAR = [f"aten::upsample_{name}" for name in ("linear1d", "bilinear2d", "trilinear3d")]

upsample(*_NEAREST, mode="nearest", corners=False)
upsample(*_NEAREST_EXACT, mode="nearest-exact", corners=False)
upsample(*_LINEAR, mode="linear", corners=True)
upsample("aten::upsample_bicubic2d", mode="cubic", corners=True)


# ---- antialiased ---------------------------------------------------------------------------------
def _filter(resize, old, new, align_corners, scale):
    """The matrix [new, old] of an antialiased resize of one dimension: that of unit vectors."""
    units = torch.eye(old, dtype=torch.float64)[None, None]
    return resize(units, [new, old], align_corners, scale, None)[0, 0]


def _antialiased(ctx, x, resize, output_size, align_corners, scales):
    sizes = list(shape(ctx, x))[2:]
    if not is_static([*sizes, *(output_size or [])]):
        raise ctx.refuse("an antialiased resize over a dynamic size")
    if not dtype(ctx, x).is_floating_point:
        raise ctx.refuse(f"an antialiased resize of {dtype(ctx, x)}")
    size = output_size if output_size is not None else [int(s * f) for s, f in zip(sizes, scales)]
    kind = torch.float64 if dtype(ctx, x) == torch.float64 else torch.float32
    rows, columns = (
        _filter(resize, old, new, align_corners, scale).to(kind)
        for old, new, scale in zip(sizes, size, scales or (None, None))
    )
    lines = matmul(ctx, tensor(ctx, x, kind), columns.t().contiguous())
    return tensor(ctx, matmul(ctx, rows, lines), dtype(ctx, x))


def antialias(name: str):
    """A table row: two products with constant matrices."""
    resize = getattr(torch.ops.aten, name).default

    @op(f"aten::{name}.vec")
    def by_factors(ctx, x, output_size, align_corners, scale_factors):
        """_upsample_bilinear2d_aa.vec(Tensor input, SymInt[]? output_size,
        bool align_corners, ...)"""
        return _antialiased(ctx, x, resize, output_size, align_corners, scale_factors)

    @op(f"aten::{name}")
    def by_size(ctx, x, output_size, align_corners, scales_h=None, scales_w=None):
        """_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners,
        float? scales_h=None, ...)"""
        return _antialiased(ctx, x, resize, output_size, align_corners, (scales_h, scales_w))


for _name in ("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_lanczos2d_aa"):
    if hasattr(torch.ops.aten, _name):
        antialias(_name)


@op("aten::__interpolate")
def interpolate(
    ctx, x, size=None, scale_factor=None, mode="nearest", align_corners=None,
    recompute_scale_factor=None, antialias=False,
):  # fmt: skip
    """__interpolate.size_list(Tensor input, int[]? size=None, float? scale_factor=None,
    str mode="nearest", bool? align_corners=None, bool? recompute_scale_factor=None,
    bool antialias=False) -> Tensor"""
    spatial = rank(ctx, x) - 2
    kind = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    size, scales = (
        v if v is None or isinstance(v, list) else [v] * spatial for v in (size, scale_factor)
    )
    if antialias:
        resize = getattr(torch.ops.aten, f"_upsample_{mode}2d_aa").default
        return _antialiased(ctx, x, resize, size, bool(align_corners), scales)
    if recompute_scale_factor and size is None:
        size, scales = [_scaled(ctx, s, f) for s, f in zip(list(shape(ctx, x))[2:], scales)], None
    return _resize(ctx, x, kind, size, bool(align_corners), scales)


# ---- grids ---------------------------------------------------------------------------------------
_GRID_MODES = ("bilinear", "nearest", "bicubic")
_GRID_PADDING = ("zeros", "border", "reflection")


@op(
    "aten::grid_sampler", "aten::grid_sampler_2d", "aten::grid_sampler_3d",
    "aten::cudnn_grid_sampler",
)  # fmt: skip
def grid_sampler(ctx, x, grid, interpolation_mode=0, padding_mode=0, align_corners=True):
    """grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode,
    bool align_corners)"""
    x = ctx.operand(x, "input")
    modes = _GRID_MODES[interpolation_mode], _GRID_PADDING[padding_mode]
    return ctx.grid_sample(x, tensor(ctx, grid), *modes, bool(align_corners))


@op("aten::affine_grid_generator")
def affine_grid_generator(ctx, theta, size, align_corners):
    """affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor"""
    spatial = list(size)[2:]
    if not is_static(spatial):
        raise ctx.refuse("affine_grid over a dynamic size")
    dims = len(spatial)
    identity = torch.eye(dims, dims + 1)[None]
    base = torch.affine_grid_generator(identity, [1, 1, *spatial], align_corners).reshape(-1, dims)
    points = torch.cat([base, torch.ones(len(base), 1)], 1).to(dtype(ctx, theta))
    grid = matmul(ctx, points, transpose(ctx, theta, 1, 2))
    return reshape(ctx, grid, [shape(ctx, theta)[0], *spatial, dims])
