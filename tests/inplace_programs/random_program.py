"""Programs of random views and writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

VIEWS: list[Callable[[torch.Tensor, random.Random], torch.Tensor]] = [
    lambda t, r: t[r.randrange(t.shape[0])] if t.dim() > 1 else t,
    lambda t, r: t.narrow(r.randrange(t.dim()), 0, 1),
    lambda t, r: t[..., r.randrange(t.shape[-1]) :],
    lambda t, r: t[:: r.choice([1, 2])],
    lambda t, r: t.transpose(0, -1),
    lambda t, r: t.unsqueeze(r.randrange(t.dim() + 1)),
    lambda t, r: t.flatten(),
    lambda t, r: t.reshape(-1, t.shape[-1]),
    lambda t, r: r.choice(t.chunk(2, r.randrange(t.dim()))),
    lambda t, r: r.choice(t.unbind(0)) if t.dim() > 1 else t,
    lambda t, r: t.permute(*r.sample(range(t.dim()), t.dim())),
    lambda t, r: t.contiguous(),
    lambda t, r: t.squeeze(),
    lambda t, r: t.diagonal() if t.dim() > 1 else t,
    lambda t, r: t.detach(),
]
WRITES: list[Callable[[torch.Tensor, torch.Tensor, random.Random], Any]] = [
    lambda t, s, r: t.add_(s.amax()),
    lambda t, s, r: t.mul_(0.5),
    lambda t, s, r: t.zero_(),
    lambda t, s, r: t.fill_(r.random()),
    lambda t, s, r: t.copy_(s.amin()),
    lambda t, s, r: t.relu_(),
    lambda t, s, r: t.masked_fill_(t > 0.5, 0.25),
    lambda t, s, r: t.copy_(s.clone()) if s.shape == t.shape else t.neg_(),
]


def random_program(seed: int) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    def function(x):
        r = random.Random(seed)
        tensors = [x + 0, x * 2]
        results = []
        for _ in range(r.randrange(3, 9)):
            source = r.choice(tensors)
            for _ in range(r.randrange(1, 3)):
                source = r.choice(VIEWS)(source, r) if source.dim() else source
            tensors.append(source)
            if r.random() < 0.7:
                r.choice(WRITES)(r.choice(tensors), r.choice(tensors), r)
            if r.random() < 0.3:
                results.append(r.choice(tensors) * 3)
        return (*results, *tensors)

    return function
