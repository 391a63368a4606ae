"""Input values."""

import torch


def rand(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Uniform float32 values."""
    generator = torch.Generator().manual_seed(seed + len(shape))
    return torch.rand(shape, generator=generator) * (high - low) + low


def ints(*shape: int, low: int = -9, high: int = 9, dtype=torch.int32) -> torch.Tensor:
    """Integers from low up to, but without, high."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(7), dtype=dtype)
