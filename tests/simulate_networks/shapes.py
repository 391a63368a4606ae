"""Shuffle, slice, concatenation, shape, squeeze, constants, fill."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from torch2trt.backends import trt_api

from .case import Case
from .data import rand


def cases() -> Iterator[Case]:
    yield from _shuffles()
    yield from _slices()
    yield from _simple()
    yield from _fills()


def _shuffle(name, x, expected, first=None, dims=None, second=None, **options):
    def build(net, x):
        layer = net.n.add_shuffle(x)
        if first is not None:
            layer.first_transpose = first
        if dims is not None:
            layer.reshape_dims = dims
        if second is not None:
            layer.second_transpose = second
        return layer

    return Case(f"shuffle-{name}", build, (x,), expected, **options)


def _shuffles() -> Iterator[Case]:
    x = rand(2, 3, 4)
    yield _shuffle("transpose", x, lambda x: x.permute(2, 0, 1), first=(2, 0, 1))
    yield _shuffle("reshape", x, lambda x: x.reshape(6, 4), dims=(6, 4))
    yield _shuffle("zero_and_minus_one", x, lambda x: x.reshape(2, 12), dims=(0, -1))
    yield _shuffle(
        "all",
        x,
        lambda x: x.permute(1, 0, 2).reshape(3, 2, 2, 2).permute(3, 2, 1, 0),
        first=(1, 0, 2),
        dims=(0, 0, 2, -1),
        second=(3, 2, 1, 0),
    )
    yield _shuffle("scalar", rand(1, 1), lambda x: x.reshape(()), dims=())
    yield _shuffle("from_scalar", torch.tensor(2.5), lambda x: x.reshape(1, 1), dims=(1, 1))

    def zero(net, x):
        layer = net.n.add_shuffle(x)
        layer.zero_is_placeholder = False
        layer.reshape_dims = (0, 5)
        return layer

    yield Case("shuffle-zero_length", zero, (torch.empty(2, 0),), torch.empty(0, 5))

    def dynamic(net, x):
        layer = net.n.add_shuffle(x)
        layer.set_input(1, net.index([4, -1]))
        return layer

    yield Case("shuffle-dims_tensor", dynamic, (x,), lambda x: x.reshape(4, 6))


def _slice(name, x, start, size, stride, expected, mode="STRICT_BOUNDS", fill=None, **options):
    def build(net, x):
        layer = net.n.add_slice(x, start, size, stride)
        layer.mode = net.enum("SampleMode", mode)
        if fill is not None:
            layer.set_input(4, net.const(fill))
        return layer

    return Case(f"slice-{name}", build, (x,), expected, **options)


def _slices() -> Iterator[Case]:
    x = torch.arange(20.0).reshape(4, 5)
    yield _slice("plain", x, (1, 0), (2, 3), (1, 2), lambda x: x[1:3, 0:5:2])
    yield _slice("negative_stride", x, (3, 4), (4, 2), (-1, -3), lambda x: x.flip(0)[:, [4, 1]])
    yield _slice("zero_stride", x, (1, 0), (3, 5), (0, 1), lambda x: x[1:2].expand(3, 5))
    line = torch.arange(4.0).reshape(1, 4)
    reach = ((0, -5), (1, 14), (1, 1))
    indices = {
        "WRAP": [3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0],
        "CLAMP": [0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3],
        "REFLECT": [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2],
    }
    for mode, picked in indices.items():
        yield _slice(mode, line, *reach, lambda x, picked=picked: x[:, picked], mode)
    filled = [9.0] * 5 + [0.0, 1.0, 2.0, 3.0] + [9.0] * 5
    yield _slice("FILL", line, *reach, torch.tensor([filled]), "FILL", 9.0)
    corner = torch.nn.functional.pad(x, (1, 0, 0, 2))
    yield _slice("FILL-default", x, (0, -1), (6, 6), (1, 1), corner, "FILL", 0.0)

    i = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    padded = [[0, 0, 0], [0, 1, 2], [3, 4, 5]]
    yield _slice(
        "FILL-int32",
        i,
        (-1, 0),
        (3, 3),
        (1, 1),
        torch.tensor(padded, dtype=torch.int32),
        "FILL",
        torch.tensor(0, dtype=torch.int32),
    )

    def dynamic(net, x):
        layer = net.n.add_slice(x, (0, 0), (1, 1), (1, 1))
        layer.set_input(1, net.index([1, 2]))
        layer.set_input(2, net.index([2, 2]))
        layer.set_input(3, net.index([2, 1]))
        return layer

    yield Case("slice-tensors", dynamic, (x,), lambda x: x[1:4:2, 2:4])

    def of_shape(net, x):
        shape = net.n.add_shape(x).get_output(0)
        one = net.const([1], trt_api.torch_dtype(shape.dtype))
        rows = net.n.add_slice(shape, (0,), (1,), (1,)).get_output(0)
        less = net.binary(rows, "SUB", one)
        size = net.n.add_concatenation(
            [less, net.n.add_slice(shape, (1,), (1,), (1,)).get_output(0)]
        )
        layer = net.n.add_slice(x, (1, 0), (0, 0), (1, 1))
        layer.set_input(2, size.get_output(0))
        return layer

    yield Case("slice-shape_arithmetic", of_shape, (x,), lambda x: x[1:], dynamic={0: (-1, 5)})

    def axes(net, x):
        layer = net.n.add_slice(x, (1,), (2,), (1,))
        layer.axes = (1,)
        return layer

    yield Case("slice-axes", axes, (x,), lambda x: x[:, 1:3], needs=("ISliceLayer.axes",))


def _simple() -> Iterator[Case]:
    def concatenate(net, a, b):
        layer = net.n.add_concatenation([a, b])
        layer.axis = 1
        return layer

    yield Case(
        "concatenation", concatenate, (rand(2, 3), rand(2, 1)), lambda a, b: torch.cat((a, b), 1)
    )
    yield Case(
        "shape",
        lambda net, x: net.n.add_shape(x),
        (rand(2, 3, 4),),
        lambda x: torch.tensor(
            [2, 3, 4], dtype=torch.int64 if trt_api.supports("DataType.INT64") else torch.int32
        ),
        dynamic={0: (-1, 3, -1)},
    )
    for name, axes, shape in (("one", [0], (3, 1)), ("two", [0, -1], (3,))):
        yield Case(
            f"squeeze-{name}",
            lambda net, x, axes=axes: net.n.add_squeeze(x, net.index(axes)),
            (rand(1, 3, 1),),
            lambda x, shape=shape: x.reshape(shape),
            needs=("add_squeeze",),
        )
    yield Case(
        "unsqueeze",
        lambda net, x: net.n.add_unsqueeze(x, net.index([0, -1])),
        (rand(2, 3),),
        lambda x: x.reshape(1, 2, 3, 1),
        needs=("add_unsqueeze",),
    )
    for dtype in (torch.float32, torch.float16, torch.int32, torch.int64):
        value = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=dtype)
        yield Case(
            f"constant-{str(dtype)[6:]}",
            lambda net, x, value=value: net.binary(net.const(value), "SUM", x),
            (value,),
            lambda x: x + x,
        )

    def with_empty(net, x):
        nothing = net.n.add_constant((0, 3), net.trt.Weights(net.trt.float32)).get_output(0)
        layer = net.n.add_concatenation([x, nothing])
        layer.axis = 0
        return layer

    yield Case("constant-empty", with_empty, (rand(2, 3),), lambda x: x)


def _fills() -> Iterator[Case]:
    def line(net, x):
        layer = net.n.add_fill((5,), net.enum("FillOperation", "LINSPACE"))
        layer.alpha, layer.beta = 2.0, 0.5
        return net.binary(layer.get_output(0), "SUM", x)

    yield Case("fill-static", line, (torch.zeros(5),), torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))

    def plane(net, x):
        layer = net.n.add_fill((3, 4), net.enum("FillOperation", "LINSPACE"))
        layer.set_input(1, net.const(1.0))
        layer.set_input(2, net.const([100.0, 10.0]))
        return net.binary(layer.get_output(0), "SUM", x)

    rows = [[1.0, 11.0, 21.0, 31.0], [101.0, 111.0, 121.0, 131.0], [201.0, 211.0, 221.0, 231.0]]
    yield Case("fill-tensors", plane, (torch.zeros(3, 4),), torch.tensor(rows))

    def integers(net, x):
        layer = net.n.add_fill((1,), net.enum("FillOperation", "LINSPACE"), net.trt.int32)
        layer.set_input(0, net.index([4]))
        layer.set_input(1, net.index(3))
        layer.set_input(2, net.index([-2]))
        return net.binary(layer.get_output(0), "SUM", x)

    yield Case(
        "fill-int32",
        integers,
        (torch.zeros(4, dtype=torch.int32),),
        torch.tensor([3, 1, -1, -3], dtype=torch.int32),
        needs=("IFillLayer.to_type",),
    )
