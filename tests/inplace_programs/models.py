"""As models do."""

from __future__ import annotations

import torch

from .program import program


@program((2, 3, 4, 4, 7))
def detection_head(x):
    y = x.sigmoid()
    grid = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"), -1).float()
    y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid) * 8
    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * 3
    return y.view(2, -1, 7)


@program((2, 4, 5), (2, 2, 5))
def kv_cache(cache, new):
    cache = cache.clone()
    cache[:, 1:3] = new
    return cache, (cache[:, :3] @ new.transpose(1, 2)).softmax(1)


@program((1, 5, 4), fresh=((3, 5, 4),))
def batch_of_one_traced(x):
    y = x + 0
    y[:, 0] = 1
    y[:, 1:2] += torch.ones(1, 1, 4)
    y[:, 2] = torch.arange(4.0)
    y.flatten(1)[:, 3] = 2
    y.transpose(1, 2)[:, 0].mul_(2)
    return y


@program((2, 6, 4), fresh=((5, 6, 4),))
def other_batch(x):
    y = x + 0
    y.view(x.size(0), -1)[:, 3:5] = 0
    a, b = y.chunk(2, 1)
    a += b.mean(1, keepdim=True)
    out = torch.zeros(x.shape[0], 6, 8)
    out[..., :4] = y
    out[..., 4:] += x
    return out


@program((2, 5, 8))
def positional_embedding(x):
    position = torch.zeros(5, 8)
    steps = torch.arange(5.0).unsqueeze(1)
    position[:, 0::2] = torch.sin(steps * torch.arange(4.0))
    position[:, 1::2] = torch.cos(steps * torch.arange(4.0))
    x = x + 0
    x += position
    return x


@program((4, 4))
def causal_mask(x):
    mask = torch.full((4, 4), float("-inf")).triu_(1)
    y = x + 0
    y += mask
    return y.softmax(-1)


@program((2, 4, 6, 6))
def window_mask(x):
    image = torch.zeros(1, 6, 6, 1)
    for count, h in enumerate((slice(0, -3), slice(-3, -1), slice(-1, None))):
        image[:, h, :, :] = count
    return x + image.permute(0, 3, 1, 2)


@program((2, 4, 5))
def temporal_shift(x):
    out = torch.zeros_like(x)
    out[:, :-1, :2] = x[:, 1:, :2]
    out[:, 1:, 2:4] = x[:, :-1, 2:4]
    out[:, :, 4:] = x[:, :, 4:]
    return out


@program()
def writes_to_its_input(x):
    x.add_(1)
    x[:, 0] = 0
    return x * 2
