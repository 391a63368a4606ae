"""Integers of weakly typed networks, on TensorRT-RTX made to be like TensorRT 8.6.

The reductions of 8.6 round integers to float32, and its builder crashes on bits and logic of
constants. Networks are pinned to have neither; reductions that are left are simulated with the
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_tensorrt_types import Weak

from torch2trt.backends import trt_api
from torch2trt.backends.tensorrt import TensorRTContext
from torch2trt.backends.tensorrt_types import layer_kind
from torch2trt.errors import UnsupportedOpError
from torch2trt.simulate import reduction, simulate

if not trt_api.is_rtx():
    pytest.skip("needs a library that knows the types at once", allow_module_level=True)

trt = trt_api.trt()
INT32 = torch.iinfo(torch.int32)
BIG = torch.arange(-35, 37).reshape(4, 3, 6).mul(5**13 + 2).int()
EDGES = torch.tensor([[INT32.min, INT32.max, 0, 1], [-1, 93, -117, 0x5A5A5A5A]], dtype=torch.int32)
MASKS = (0, -1, 1, 6, 7, -2, INT32.max, INT32.min, 0x55555555, -0x55555556, 0x00FF00FF, -(1 << 30))
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor")


def run(
    emit: Callable[..., Any], *inputs: torch.Tensor, axes: Sequence[int] = ()
) -> tuple[Any, list[torch.Tensor]]:
    """The network of a primitive as a weakly typed one, `axes` of its inputs being dynamic, and
    what it computes where reductions round to float32."""
    network = trt_api.create_network(trt_api.create_builder())
    with pytest.MonkeyPatch.context() as patch:
        weak = Weak(patch)
        context = TensorRTContext(network)
        sizes = [[None if i in axes else n for i, n in enumerate(x.shape)] for x in inputs]
        tensors = [
            context.input(f"x{i}", size, x.dtype)
            for i, (size, x) in enumerate(zip(sizes, inputs, strict=True))
        ]
        outputs = emit(context, *tensors)
        context.finish(outputs if isinstance(outputs, list) else [outputs])
        assert not weak.wrong
    with pytest.MonkeyPatch.context() as patch:
        for name, exact in reduction.REDUCTIONS.items():
            patch.setitem(
                reduction.REDUCTIONS,
                name,
                lambda x, dims, keep, exact=exact: exact(x.float().to(x.dtype), dims, keep),
            )
        return network, list(simulate(network, list(inputs)).values())


def layers(network: Any, *kinds: str) -> Iterator[Any]:
    """The layers of some kinds, as what they are."""
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        kind = layer_kind(layer)
        if kind in kinds:
            layer.__class__ = {"ELEMENTWISE": trt.IElementWiseLayer}.get(kind, trt.ILayer)
            yield layer


def check_constants(network: Any) -> None:
    """No elementwise layer of constants alone, and none takes a constant bool."""
    constants = {layer.get_output(0).name for layer in layers(network, "CONSTANT")}
    for layer in layers(network, "ELEMENTWISE"):
        known = [x for x in map(layer.get_input, range(2)) if x.name in constants]
        assert len(known) < 2, layer.name
        assert all(x.dtype != trt.DataType.BOOL for x in known), layer.name


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", BITWISE)
def test_bits_of_a_known_number(name, mask):
    number, function = torch.tensor(mask), getattr(torch, name)
    for x in (EDGES, EDGES.long() * 3):
        network, got = run(
            lambda c, x: [
                c.binary(name, x, c.literal(number.to(c.dtype(x)))),
                c.binary(name, number.to(c.dtype(x)), x),
            ],
            x,
        )
        check_constants(network)
        assert all(torch.equal(y, function(x, number.to(x.dtype))) for y in got)


@pytest.mark.parametrize("name", BITWISE)
def test_bits_of_constants_and_of_tensors(name):
    row, other = EDGES[1], EDGES.flip(0, 1).contiguous()
    network, got = run(
        lambda c, x, y: [
            c.binary(name, row, x),
            c.binary(name, x, other),
            c.binary(name, x, y),
        ],
        EDGES,
        other,
    )
    check_constants(network)
    assert not list(layers(network, "REDUCE"))
    for y, operand in zip(got, (row, other, other), strict=True):
        assert torch.equal(y, getattr(torch, name)(EDGES, operand))


def test_bits_of_two_constants_are_known():
    network, (got,) = run(
        lambda c, x: c.binary("add", x, c.binary("bitwise_xor", EDGES, EDGES[:1])), EDGES
    )
    assert torch.equal(got, EDGES + (EDGES ^ EDGES[:1]))
    assert len(list(layers(network, "ELEMENTWISE"))) == 1


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic_with_one_known_bool(name, value):
    x, number = EDGES > 0, torch.tensor(value)
    network, got = run(
        lambda c, x: [c.binary(name, x, c.literal(number)), c.binary(name, c.literal(number), x)],
        x,
    )
    check_constants(network)
    assert all(torch.equal(y, getattr(torch, name)(x, number)) for y in got)


KERNEL = torch.arange(-12, 12).reshape(6, 2, 2, 1).int()
LINE, TAPS = (
    torch.arange(10).reshape(1, 2, 5).int() * 3**18,
    torch.arange(-9, 9).reshape(2, 3, 3).int(),
)
EXACT: dict[str, tuple[Callable[..., Any], Callable[..., torch.Tensor], tuple[Any, ...]]] = {
    **{
        f"{name}-{axes}-{keepdim}": (
            lambda c, x, n=name, a=axes, k=keepdim: c.reduce(n, x, a, k),
            lambda x, f=function, a=axes, k=keepdim: f(x, a, keepdim=k),
            (BIG,),
        )
        for name, function in {"sum": torch.sum, "max": torch.amax, "min": torch.amin}.items()
        for axes, keepdim in (([1], False), ([2], True), ([0, 2], False), ([0, 1, 2], True))
    },
    "prod": (lambda c, x: c.reduce("prod", x, [2], False), lambda x: x.prod(2), (BIG,)),
    "argmax": (lambda c, x: c.arg_reduce("max", x, 2, False), lambda x: x.argmax(2), (BIG,)),
    "cumulative": (lambda c, x: c.cumulative("prod", x, 2), lambda x: x.cumprod(2), (BIG,)),
    "matmul": (lambda c, x, y: c.matmul(x, y), torch.matmul, (BIG, BIG.mT.contiguous())),
    "conv": (
        lambda c, x, w: c.conv(x, w, None, (2, 2), [(1, 1), (1, 1)], (1, 2), 2),
        lambda x, w: F.conv2d(x.long(), w.long(), None, 2, 1, (1, 2), 2),
        (BIG[None], KERNEL),
    ),
    "conv_transpose": (
        lambda c, x: c.conv_transpose(x, TAPS, None, (2,), (1,), (1,), (2,), 1),
        lambda x: F.conv_transpose1d(x.long(), TAPS.long(), None, 2, 1, 1, dilation=2),
        (LINE,),
    ),
    "scatter": (
        lambda c, x: c.scatter(x, torch.tensor([[0] * 6] * 3).expand(4, 3, 6), x, 1, "add"),
        lambda x: torch.cat([x[:, :1] + x.sum(1, keepdim=True).int(), x[:, 1:]], 1),
        (BIG,),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_large_integers_stay_exact(name):
    emit, reference, inputs = EXACT[name]
    network, (got,) = run(emit, *inputs)
    assert torch.equal(got, reference(*inputs).to(got.dtype))
    reduced = [trt.DataType.INT32] if name == "argmax" else []  # of positions, which are small
    assert [layer.get_input(0).dtype for layer in layers(network, "REDUCE")] == reduced


@pytest.mark.parametrize("axes", [[1], [0, 1]])
@pytest.mark.parametrize("name", ["sum", "max", "min"])
def test_large_integers_along_dynamic_axes(name, axes):
    function = {"sum": torch.sum, "max": torch.amax, "min": torch.amin}[name]
    network, got = run(
        lambda c, x: [c.reduce(name, x, axes, keepdim) for keepdim in (False, True)], BIG, axes=[1]
    )
    wanted = [function(BIG, axes, keepdim=keepdim).int() for keepdim in (False, True)]
    assert all(torch.equal(*pair) for pair in zip(got, wanted, strict=True))


def test_what_was_bool_is_counted_by_a_reduction():
    network, (got,) = run(
        lambda c, x: c.reduce(
            "sum", c.cast(c.binary("gt", x, torch.tensor(3).int()), torch.int32), [0], False
        ),
        BIG,
    )
    assert torch.equal(got, (BIG > 3).sum(0).int())
    assert len(list(layers(network, "REDUCE"))) == 1 and not list(layers(network, "SLICE"))


def test_products_along_dynamic_axes_are_refused():
    with pytest.raises(UnsupportedOpError, match="product of integers along a dynamic dimension"):
        run(lambda c, x: c.reduce("prod", x, [1], False), BIG, axes=[1])


def test_reductions_of_no_integers():
    _, got = run(
        lambda c, x: [c.reduce(name, x, [1], False) for name in ("sum", "prod")],
        torch.zeros(2, 0, dtype=torch.int32),
    )
    assert [y.tolist() for y in got] == [[0, 0], [1, 1]]
