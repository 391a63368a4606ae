"""Resizing and grid sampling of TensorRT.

A resize layer is used where its formula and torch's are the same: the scale is the ratio of the
sizes, and for "nearest" the source positions are exact. Elsewhere positions and weights come from
torch itself, as tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .base import Dim, Operand, Tensor
from .tensorrt_base import FLOATS
from .tensorrt_norm import NormMixin

_LAYER = {
    "nearest": ("NEAREST", "ASYMMETRIC", "FLOOR"),
    "nearest-exact": ("NEAREST", "HALF_PIXEL", "HALF_UP"),
    "linear": ("LINEAR", "HALF_PIXEL", None),
    "cubic": ("CUBIC", "HALF_PIXEL", None),
}
_GRID_MODES = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
_GRID_PADDING = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


def _torch_resize(
    x: torch.Tensor, size: int, mode: str, align_corners: bool, scale: float | None
) -> torch.Tensor:
    """One dimension of ``x`` [rows, n] resized by torch to [rows, size]."""
    image = x[None, :, :, None] if mode == "cubic" else x[None]
    name = {"cubic": "bicubic"}.get(mode, mode)
    flags = {} if mode.startswith("nearest") else {"align_corners": align_corners}
    extra = (1,) if mode == "cubic" else ()
    if scale is not None:
        factors = (scale, *(1.0 for _ in extra))
        y = F.interpolate(
            image, scale_factor=factors, mode=name, recompute_scale_factor=False, **flags
        )
    else:
        y = F.interpolate(image, size=(size, *extra), mode=name, **flags)
    return y[0, :, :, 0] if mode == "cubic" else y[0]


class ResizeMixin(NormMixin):
    """resize and grid_sample; see ``SymbolicContext`` for their meaning."""

    def resize(
        self, x: Operand, size: Sequence[Dim], mode: str, align_corners: bool,
        scales: Sequence[float | None],
    ) -> Tensor:  # fmt: skip
        if mode not in _LAYER:
            raise self.refuse(
                f"resize mode {mode!r} is not available, expected one of {', '.join(_LAYER)}"
            )
        x = self.operand(x)
        old = self.shape(x)[2:]
        static = self.is_static(old) and self.is_static(size)
        if static and list(old) == list(size) and self._scale_is_ratio(old, size, scales):
            return x
        if self._layer_fits(x, old, size, mode, scales):
            return self._resize_layer(x, size, mode, align_corners)
        if not static:
            raise self.refuse(
                f"resize {mode} of a dynamic size by {list(scales)} is not available; give size=, "
                "or recompute_scale_factor=True"
            )
        return self._resize_by_tables(x, size, mode, align_corners, scales)

    def _layer_fits(
        self, x: Tensor, old: Sequence[Dim], new: Sequence[Dim], mode: str,
        scales: Sequence[float | None],
    ) -> bool:  # fmt: skip
        """Whether the formula of the layer is torch's."""
        if self.dtype(x) not in FLOATS or (mode == "cubic" and len(new) != 2):
            return False
        if not self._scale_is_ratio(old, new, scales):
            return False
        known = mode.startswith("nearest") and self.is_static(old) and self.is_static(new)
        return not known or all(map(self._exact_ratio, old, new))

    def _scale_is_ratio(
        self, old: Sequence[Dim], new: Sequence[Dim], scales: Sequence[float | None]
    ) -> bool:
        for before, after, scale in zip(old, new, scales, strict=True):
            if scale is None:
                continue
            if isinstance(before, int) and isinstance(after, int):
                if before * scale != after:
                    return False
            elif scale != int(scale):
                return False
        return True

    def _exact_ratio(self, before: int, after: int) -> bool:
        return after % before == 0 or before % after == 0

    def _resize_layer(
        self, x: Tensor, size: Sequence[Dim], mode: str, align_corners: bool
    ) -> Tensor:
        kind, coordinates, rounding = _LAYER[mode]
        layer = self.check(self.network.add_resize(x))
        layer.resize_mode = getattr(self.trt.InterpolationMode, kind)
        if align_corners and rounding is None:
            coordinates = "ALIGN_CORNERS"
        layer.coordinate_transformation = getattr(
            self.trt.ResizeCoordinateTransformation, coordinates
        )
        if rounding is not None:
            layer.nearest_rounding = getattr(self.trt.ResizeRoundMode, rounding)
        if mode == "cubic":
            layer.cubic_coeff = -0.75
        shape = (*self.shape(x)[:2], *size)
        if self.is_static(shape):
            layer.shape = shape
        else:
            layer.set_input(1, self.dims_tensor(shape))
        return self.out(layer)

    def _resize_by_tables(
        self, x: Tensor, size: Sequence[int], mode: str, align_corners: bool,
        scales: Sequence[float | None],
    ) -> Tensor:  # fmt: skip
        dtype = self.dtype(x)
        weighted = not mode.startswith("nearest")
        if weighted and dtype not in FLOATS:
            raise self.refuse(f"resize {mode} of {dtype} is not available")
        x = self.cast(x, torch.float32) if weighted else x
        for axis, (new, scale) in enumerate(zip(size, scales, strict=True), start=2):
            old = x.shape[axis]
            if old == new and scale in (None, 1):
                continue
            matrix = _torch_resize(torch.eye(old), new, mode, align_corners, scale)
            x = self._blend(x, matrix, axis) if weighted else self.take(x, matrix.argmax(0), axis)
        return self.cast(x, dtype)

    def _blend(self, x: Tensor, matrix: torch.Tensor, axis: int) -> Tensor:
        """The sum over the taps of each new position: values of `x` times weights of `matrix` [old,
        new]."""
        taps = int((matrix != 0).sum(0).max())
        rows = matrix.abs().topk(taps, dim=0).indices
        view = [1] * self.rank(x)
        view[axis] = matrix.shape[1]
        total = None
        for row in rows:
            weights = self.literal(matrix.gather(0, row[None])[0], view)
            part = self.elementwise("PROD", self.take(x, row, axis), weights)
            total = part if total is None else self.elementwise("SUM", total, part)
        return total

    def grid_sample(
        self, x: Tensor, grid: Operand, mode: str, padding: str, align_corners: bool
    ) -> Tensor:
        if mode not in _GRID_MODES or padding not in _GRID_PADDING:
            raise self.refuse(
                f"grid_sample with mode {mode!r} and padding {padding!r} is not available"
            )
        x, grid = self.operand(x), self.operand(grid)
        if (mode, padding) == ("bicubic", "zeros"):
            dtype = self.dtype(x)
            if dtype != torch.float32:
                x, grid = self.cast(x, torch.float32), self.cast(grid, torch.float32)
                return self.cast(self.grid_sample(x, grid, mode, padding, align_corners), dtype)
            x, grid, padding = *self._with_margin(x, grid, align_corners), "border"
        layer = self.check(self.network.add_grid_sample(x, grid))
        layer.interpolation_mode = getattr(self.trt.InterpolationMode, _GRID_MODES[mode])
        layer.sample_mode = getattr(self.trt.SampleMode, _GRID_PADDING[padding])
        layer.align_corners = align_corners
        return self.out(layer)

    def _with_margin(self, x: Tensor, grid: Tensor, align_corners: bool) -> tuple[Tensor, Tensor]:
        """`x` with a zero on every side, and the grid for it: its border is what "zeros" means.

        The layer itself is not exact for zeros around a bicubic window.
        """
        sides = (0, 0, 1, 1)
        lost = int(align_corners)
        old = [size - lost for size in reversed(self.shape(x)[2:])]
        new = [size + 2 for size in old]
        if self.is_static(old):
            factors = self.literal(torch.tensor(old) / torch.tensor(new), (1, 1, 1, 2))
        else:
            parts = (self.size_tensor(sizes, torch.float32) for sizes in (old, new))
            factors = self.reshape(self.elementwise("DIV", *parts), (1, 1, 1, 2))
        return self.pad(x, sides, sides, "constant"), self.elementwise("PROD", grid, factors)
