"""Shape primitives of TensorRT: shuffle, slice, concatenation, padding, fill."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import trt_api
from .base import Dim, Operand, Tensor
from .tensorrt_base import TensorRTBase
from .tensorrt_dims import SymInt

_PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


class ShapeMixin(TensorRTBase):
    """reshape, permute, expand, concat, slice, pad and arange; see ``SymbolicContext``."""

    # ---- shuffle ---------------------------------------------------------------------------------
    def reshape(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        x, shape = self.operand(x), tuple(shape)
        if self.is_static(shape) and tuple(x.shape) == shape:
            return x
        dtype = self.dtype(x)
        layer = self.network.add_shuffle(self.movable(x))
        layer.zero_is_placeholder = False
        placeholders = self._placeholders(shape)
        if placeholders is None:
            layer.set_input(1, self.dims_tensor(shape))
        else:
            layer.reshape_dims = placeholders
        return self.back(self.out(layer), dtype)

    def _placeholders(self, shape: Sequence[Dim]) -> tuple[int, ...] | None:
        unknown = sum(not isinstance(dim, int) for dim in shape)
        if unknown > 1 or (unknown and 0 in [dim for dim in shape if isinstance(dim, int)]):
            return None
        return tuple(dim if isinstance(dim, int) else -1 for dim in shape)

    def permute(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        if list(dims) == list(range(len(dims))):
            return x
        dtype = self.dtype(x)
        layer = self.network.add_shuffle(self.movable(x))
        layer.first_transpose = tuple(dims)
        return self.back(self.out(layer), dtype)

    # ---- slices ----------------------------------------------------------------------------------
    def slice_layer(
        self, x: Tensor, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[Dim],
        mode: str | None = None, fill: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """One slice layer; `mode` is a ``SampleMode`` for what lies outside of `x`."""
        dtype = self.dtype(x)
        parts = [tuple(part) for part in (starts, sizes, steps)]
        static = [part if self.is_static(part) else (0,) * len(part) for part in parts]
        layer = self.check(self.network.add_slice(self.movable(x), *static))
        for i, part in enumerate(parts):
            if not self.is_static(part):
                layer.set_input(i + 1, self.dims_tensor(part))
        if mode is not None:
            layer.mode = getattr(self.trt.SampleMode, mode)
        if fill is not None:
            layer.set_input(4, fill)
        return self.back(self.out(layer), dtype)

    def slice(
        self, x: Operand, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int]
    ) -> Tensor:
        x = self.operand(x)
        # nothing, backwards from before the start, is what no layer takes
        nothing = [isinstance(size, int) and size == 0 for size in sizes]
        starts = [0 if none else start for start, none in zip(starts, nothing, strict=True)]
        steps = [1 if none else step for step, none in zip(steps, nothing, strict=True)]
        whole = all(isinstance(start, int) and start == 0 for start in starts) and set(steps) <= {1}
        if whole and self._same(sizes, self.shape(x)):
            return x
        for start, size, step, dim in zip(starts, sizes, steps, self.shape(x), strict=True):
            self._require_inside(start, size, step, dim)
        return self.slice_layer(x, starts, sizes, steps)

    def _require_inside(self, start: Dim, size: Dim, step: int, dim: Dim) -> None:
        """The engines of TensorRT 8.6 read what lies there where a slice leaves its tensor."""
        if self.is_static((start, size, dim)):
            return
        last = start + (size - 1) * step
        low, high = (start, last) if step > 0 else (last, start)
        self.require((low, dim - 1 - high, size), "a slice lies outside of its tensor")

    def _same(self, a: Sequence[Dim], b: Sequence[Dim]) -> bool:
        return len(a) == len(b) and all(
            p is q or (isinstance(p, int) and p == q) for p, q in zip(a, b, strict=True)
        )

    def expand(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        x = self._with_rank(x, len(shape))
        old = self.shape(x)
        if self._same(old, shape):
            return x
        special = self._not_finite(x)
        if special is not None:
            return self.expand_special(special, self.dtype(x), shape)
        steps = [self._expand_step(before, after) for before, after in zip(old, shape, strict=True)]
        for before, after in zip(old, shape, strict=True):
            if not isinstance(before, int) and before is not after:
                wrong = (before - 1) * (before - after)
                self.require((wrong, 0 - wrong), "an expanded size is neither 1 nor the new size")
        return self.slice_layer(x, (0,) * len(old), shape, steps)

    def _expand_step(self, before: Dim, after: Dim) -> Dim:
        """0 repeats the only element of a dimension; the engine chooses where it is dynamic."""
        if isinstance(before, int):
            return int(before != 1)
        if before is after or (isinstance(after, int) and after == 1):
            return 1
        return self.dim_op("min", before - 1, 1)

    def pad(
        self, x: Operand, before: Sequence[Dim], after: Sequence[Dim], mode: str, value: float = 0
    ) -> Tensor:
        if mode not in _PAD_MODES:
            raise self.refuse(
                f"pad mode {mode!r} is not available, expected one of {', '.join(_PAD_MODES)}"
            )
        if all(isinstance(amount, int) and amount == 0 for amount in (*before, *after)):
            return x
        x = self.operand(x)
        dtype = self.dtype(x)
        if dtype in (torch.bool, torch.int8):
            return self.back(self.pad(self.cast(x, torch.int32), before, after, mode, value), dtype)
        inner = torch.int32 if dtype == torch.uint8 else dtype
        fill = self.literal(torch.tensor(value, dtype=inner)) if mode == "constant" else None
        sizes = [
            low + size + high for low, size, high in zip(before, self.shape(x), after, strict=True)
        ]
        starts = [-low for low in before]
        return self.slice_layer(x, starts, sizes, (1,) * len(sizes), _PAD_MODES[mode], fill)

    # ---- concatenation and ranges ----------------------------------------------------------------
    def concat(self, xs: Sequence[Operand], axis: int) -> Tensor:
        tensors = self.align(*xs)
        if len(tensors) == 1:
            return tensors[0]
        dtype = self.dtype(tensors[0])
        layer = self.check(self.network.add_concatenation([self.movable(x) for x in tensors]))
        layer.axis = axis
        return self.back(self.out(layer), dtype)

    def arange(self, start: Dim, length: Dim, step: int = 1) -> Tensor:
        if self.is_static((start, length)):
            return self.literal(
                torch.arange(start, start + step * length, step) if length else torch.arange(0)
            )
        dtype = trt_api.trt_dtype(self.index_dtype)
        layer = self._fill_layer((length,) if isinstance(length, int) else (1,), "LINSPACE", dtype)
        if not isinstance(length, int):
            layer.set_input(0, self.dims_tensor([length]))
        layer.set_input(1, self.scalar(start))
        layer.set_input(2, self.dims_tensor([step]))
        return self.cast(self.out(layer), torch.int64)

    def scalar(self, dim: Dim) -> Tensor:
        """A dimension as a 0-d tensor."""
        if isinstance(dim, SymInt):
            return self.reshape(dim.tensor, ())
        return self.literal(torch.tensor(dim, dtype=self.index_dtype))

    def _fill_layer(self, shape: Sequence[int], operation: str, dtype: object) -> object:
        kind = getattr(self.trt.FillOperation, operation)
        try:
            return self.check(self.network.add_fill(tuple(shape), kind, dtype))
        except TypeError:  # 8.6 has no third argument
            layer = self.check(self.network.add_fill(tuple(shape), kind))
            layer.set_output_type(0, dtype)
            return layer
