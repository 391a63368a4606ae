"""The short-time Fourier transform, as a matrix product with sines and cosines."""

from __future__ import annotations

import math

import torch

from ..registry import op
from .arrange import unfold
from .common import dtype, rank
from .elementwise import mul
from .linear import matmul
from .shape import pad_mode, stack, transpose


@op("aten::stft")
def stft(
    ctx, x, n_fft, hop_length=None, win_length=None, window=None, normalized=False, onesided=None,
    return_complex=None, align_to_window=None,
):  # fmt: skip
    """stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None,
    bool normalized=False, bool? onesided=None, bool? return_complex=None,
    bool? align_to_window=None) -> Tensor"""
    if return_complex:
        raise ctx.refuse(
            "complex numbers; use return_complex=False, which gives real and imaginary parts"
        )
    kind = dtype(ctx, x)
    size = win_length or n_fft
    window = torch.ones(size, dtype=kind) if window is None else window
    if size < n_fft:
        window = _with_zeros_around(ctx, window, n_fft - size)
    frames = unfold(ctx, x, rank(ctx, x) - 1, n_fft, hop_length or n_fft // 4)
    frames = mul(ctx, frames, window)
    scale = n_fft**-0.5 if normalized else 1.0
    tables = _waves(n_fft, n_fft if onesided is False else n_fft // 2 + 1)
    parts = [matmul(ctx, frames, (table * scale).to(kind)) for table in tables]
    return stack(ctx, [transpose(ctx, part, -1, -2) for part in parts], -1)


def _with_zeros_around(ctx, window, count):
    sides = [count // 2, count - count // 2]
    if ctx.is_tensor(window):
        return pad_mode(ctx, window, sides, "constant", 0)
    return torch.nn.functional.pad(window, sides)


def _waves(size, count):
    """The real and imaginary parts of the first `count` frequencies: [size, count] each."""
    steps = torch.arange(size, dtype=torch.float64)
    angles = steps.outer(torch.arange(count, dtype=torch.float64)) % size * (2 * math.pi / size)
    return angles.cos(), -angles.sin()


@op(
    "aten::view_as_real", "aten::view_as_complex", "aten::complex", "aten::polar",
    "aten::fft_fft", "aten::fft_rfft", "aten::fft_ifft", "aten::fft_irfft", "aten::fft_fft2",
    "aten::fft_fftn", "aten::istft",
)  # fmt: skip
def complex_numbers(ctx, *_):
    """view_as_real(Tensor(a) self) -> Tensor(a), fft_fft(Tensor self, ...) -> Tensor, ..."""
    raise ctx.refuse("complex numbers")
