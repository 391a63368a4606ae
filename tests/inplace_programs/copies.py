"""Copies that Python makes, DLPack, and what goes on in the memory behind the trace."""

from __future__ import annotations

import copy

import torch

from .program import program


@program()
def deep_copy(x):
    y = copy.deepcopy(x + 1)
    y[0] = 0
    return y, copy.deepcopy(x)


@program()
def deep_copy_of_nested(x):
    y = x + 1
    first, others = copy.deepcopy((y, {"same": y, "list": [x * 2, 3]}))
    first.add_(1)
    return y, others["same"], others["list"][0] * others["list"][1]


@program()
def deep_copy_with_attributes(x):
    y = x + 1
    y.scale = x * 3
    z = copy.deepcopy(y)
    z.scale.mul_(2)
    return z + z.scale, y.scale + 0


@program((3, 4))
def deep_copy_of_a_view(x):
    y = x + 0
    z = copy.deepcopy(y[:, 1])
    y[:, 1] = 7
    return y, z


@program()
def shallow_copy(x):
    y = x * 2
    z = copy.copy(y)
    y = y * 3
    return y, z


@program()
def shallow_copy_is_the_same_memory(x):
    y = x * 2
    z = copy.copy(y)
    z[0] = 1
    return y


@program()
def dlpack(x):
    return torch.from_dlpack(x * 2) + 1


@program()
def dlpack_is_the_same_memory(x):
    y = x * 2
    z = torch.from_dlpack(y)
    z[0] = 1
    return y


@program()
def dlpack_copied(x):
    y = x * 2
    z = torch.from_dlpack(y, copy=True)
    z.add_(1)
    return y + z


@program(refused="tensor.apply_ calls Python for each element")
def python_for_each_element(x):
    return (x * 2).apply_(lambda v: v + 1)


@program(refused="tensor.map_ calls Python for each element")
def python_for_each_pair(x):
    return torch.zeros(3, 4).map_(x, lambda a, b: a + b)
