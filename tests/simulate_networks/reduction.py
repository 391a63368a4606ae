"""Softmax, reductions, top k, cumulative sums, normalisation, products."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from .case import Case
from .data import ints, rand


def cases() -> Iterator[Case]:
    yield from _softmax()
    yield from _reduce()
    yield from _topk()
    yield from _cumulative()
    yield from _normalization()
    yield from _products()


def _softmax() -> Iterator[Case]:
    for axis in range(3):

        def build(net, x, axis=axis):
            layer = net.n.add_softmax(x)
            layer.axes = 1 << axis
            return layer

        if not axis:
            half = rand(2, 3, 4).half()
            yield Case(
                "softmax-half", build, (half,), lambda x: F.softmax(x.double(), 0).half(), rtol=2e-3
            )
        yield Case(
            f"softmax-{axis}", build, (rand(2, 3, 4),), lambda x, axis=axis: F.softmax(x, axis)
        )
    x, bounds = rand(1, 3, 5), torch.tensor([[[5], [2], [1]]], dtype=torch.int32)

    def ragged(x, bounds):
        rows = torch.zeros_like(x)
        for i, n in enumerate(bounds.flatten().tolist()):
            rows[0, i, :n] = F.softmax(x[0, i, :n], 0)
        return rows

    yield Case(
        "ragged_softmax", lambda net, x, b: net.n.add_ragged_softmax(x, b), (x, bounds), ragged
    )


REDUCTIONS = {
    "SUM": lambda x, dims, keep: x.sum(dims, keep),
    "PROD": lambda x, dims, keep: x.numpy().prod(dims, keepdims=keep),
    "MAX": lambda x, dims, keep: x.numpy().max(dims, keepdims=keep),
    "MIN": lambda x, dims, keep: x.numpy().min(dims, keepdims=keep),
    "AVG": lambda x, dims, keep: x.mean(dims, keep),
}


def _reduce() -> Iterator[Case]:
    x = rand(2, 3, 4)
    for op, function in REDUCTIONS.items():
        for dims, keep in (((1,), True), ((0, 2), False), ((0, 1, 2), False)):
            mask = sum(1 << d for d in dims)

            def build(net, x, op=op, mask=mask, keep=keep):
                return net.n.add_reduce(x, net.enum("ReduceOperation", op), mask, keep)

            yield Case(
                f"reduce-{op}-{''.join(map(str, dims))}{'-keep' if keep else ''}",
                build,
                (x,),
                lambda x, f=function, d=dims, k=keep: f(x, d, k),
            )
    i = torch.tensor([[1, 2, 4], [-3, 5, 2]], dtype=torch.int32)
    for op, expected in {"SUM": [7, 4], "PROD": [8, -30], "MAX": [4, 5], "MIN": [1, -3]}.items():
        yield Case(
            f"reduce-{op}-int32",
            lambda net, x, op=op: net.n.add_reduce(x, net.enum("ReduceOperation", op), 2, False),
            (i,),
            torch.tensor(expected, dtype=torch.int32),
        )
    yield Case(
        "reduce-AVG-half",
        lambda net, x: net.n.add_reduce(x, net.enum("ReduceOperation", "AVG"), 2, False),
        (rand(3, 1000).half(),),
        lambda x: x.double().mean(1).half(),
        rtol=2e-3,
        atol=1e-4,
    )
    empty = {"SUM": 0.0, "PROD": 1.0, "MAX": -torch.inf, "MIN": torch.inf, "AVG": torch.nan}
    for op, value in empty.items():
        yield Case(
            f"reduce-{op}-empty",
            lambda net, x, op=op: net.n.add_reduce(x, net.enum("ReduceOperation", op), 2, False),
            (torch.empty(3, 0),),
            torch.full((3,), value),
        )


def _topk() -> Iterator[Case]:
    x = torch.tensor([[3.0, 1.0, 5.0, 2.0], [-1.0, -4.0, 0.5, -2.0]])
    picks = {
        "MAX": ([[5.0, 3.0], [0.5, -1.0]], [[2, 0], [2, 0]]),
        "MIN": ([[1.0, 2.0], [-4.0, -2.0]], [[1, 3], [1, 3]]),
    }
    for op, (values, indices) in picks.items():
        expected = (torch.tensor(values), torch.tensor(indices, dtype=torch.int32))
        yield Case(
            f"topk-{op}",
            lambda net, x, op=op: net.n.add_topk(x, net.enum("TopKOperation", op), 2, 2),
            (x,),
            expected,
        )

    def from_tensor(net, x):
        layer = net.n.add_topk(x, net.enum("TopKOperation", "MAX"), 1, 2)
        layer.set_input(1, net.index(2))
        return layer

    values, indices = picks["MAX"]
    yield Case(
        "topk-k_tensor",
        from_tensor,
        (x,),
        (torch.tensor(values), torch.tensor(indices, dtype=torch.int32)),
    )


def _cumulative() -> Iterator[Case]:
    x = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=torch.float32)
    rows = {
        (False, False): [[1, 3, 6, 10], [5, 11, 18, 26]],
        (False, True): [[10, 9, 7, 4], [26, 21, 15, 8]],
        (True, False): [[0, 1, 3, 6], [0, 5, 11, 18]],
        (True, True): [[9, 7, 4, 0], [21, 15, 8, 0]],
    }
    for (exclusive, reverse), expected in rows.items():

        def build(net, x, exclusive=exclusive, reverse=reverse):
            op = net.enum("CumulativeOperation", "SUM")
            return net.n.add_cumulative(x, net.index(1), op, exclusive, reverse)

        for dtype in (torch.float32, torch.int64):
            name = (
                f"{'exclusive' if exclusive else 'inclusive'}-{'reverse' if reverse else 'forward'}"
            )
            yield Case(
                f"cumulative-{name}-{str(dtype)[6:]}",
                build,
                (x.to(dtype),),
                torch.tensor(expected, dtype=dtype),
                needs=("add_cumulative",),
            )


def _normalization() -> Iterator[Case]:
    x = rand(2, 6, 4, 5)
    weight, bias = rand(1, 1, 4, 5), rand(1, 1, 4, 5, seed=2)

    def layer_norm(net, x, add="add_normalization"):
        layer = getattr(net.n, add)(x, net.const(weight), net.const(bias), 0b1100)
        layer.epsilon = 1e-3
        return layer

    def expected(x):
        return F.layer_norm(x, (4, 5), weight[0, 0], bias[0, 0], 1e-3)

    yield Case("normalization-layer", layer_norm, (x,), expected, atol=1e-5)
    yield Case(
        "normalization_v2-layer",
        lambda net, x: layer_norm(net, x, "add_normalization_v2"),
        (x,),
        expected,
        needs=("add_normalization_v2",),
        atol=1e-5,
    )
    w, b = rand(1, 6, 1, 1), rand(1, 6, 1, 1, seed=2)
    yield Case(
        "normalization-instance",
        lambda net, x: net.n.add_normalization(x, net.const(w), net.const(b), 0b1100),
        (x,),
        lambda x: F.instance_norm(x, weight=w.flatten(), bias=b.flatten()),
        atol=1e-5,
    )

    def group(net, x, add="add_normalization", w=w[:, :3], b=b[:, :3]):
        layer = getattr(net.n, add)(x, net.const(w.contiguous()), net.const(b.contiguous()), 0b1100)
        layer.num_groups = 3
        return layer

    def per_group(x):
        normal = F.group_norm(x, 3)
        return normal * w[:, :3].repeat_interleave(2, 1) + b[:, :3].repeat_interleave(2, 1)

    yield Case("normalization-group", group, (x,), per_group, atol=1e-5)
    yield Case(
        "normalization_v2-group",
        lambda net, x: group(net, x, "add_normalization_v2", w, b),
        (x,),
        lambda x: F.group_norm(x, 3, w.flatten(), b.flatten()),
        needs=("add_normalization_v2",),
        atol=1e-5,
    )


def _matmul(name, a, op0, b, op1, expected, **options):
    def build(net, a, b):
        first, second = net.enum("MatrixOperation", op0), net.enum("MatrixOperation", op1)
        return net.n.add_matrix_multiply(a, first, b, second)

    return Case(f"matrix_multiply-{name}", build, (a, b), expected, **{"atol": 1e-5, **options})


def _products() -> Iterator[Case]:
    a, b = rand(2, 3, 4), rand(2, 4, 5, seed=1)
    yield _matmul("plain", a, "NONE", b, "NONE", torch.bmm)
    yield _matmul(
        "transposed", a.mT, "TRANSPOSE", b.mT, "TRANSPOSE", lambda a, b: torch.bmm(a.mT, b.mT)
    )
    yield _matmul("broadcast", a, "NONE", rand(1, 4, 5), "NONE", lambda a, b: a @ b[0])
    yield _matmul(
        "vector_right", a, "NONE", rand(2, 4), "VECTOR", lambda a, b: (a * b[:, None]).sum(-1)
    )
    yield _matmul(
        "vector_left", rand(2, 4), "VECTOR", b, "NONE", lambda a, b: (a[:, :, None] * b).sum(1)
    )
    yield _matmul(
        "vectors", rand(2, 4), "VECTOR", rand(2, 4, seed=1), "VECTOR", lambda a, b: (a * b).sum(-1)
    )
    yield _matmul(
        "half",
        a.half(),
        "NONE",
        b.half(),
        "NONE",
        lambda a, b: (a.double() @ b.double()).half(),
        rtol=2e-3,
        atol=2e-3,
    )

    def einsum(equation, *operands, **options):
        return Case(
            f"einsum-{equation}",
            lambda net, *xs: net.n.add_einsum(list(xs), equation),
            operands,
            options.pop("expected"),
            atol=1e-5,
            **options,
        )

    yield einsum("ik,kj->ij", rand(2, 3), rand(3, 4), expected=lambda a, b: a @ b)
    yield einsum("bij,bkj->bik", rand(2, 3, 4), rand(2, 5, 4), expected=lambda a, b: a @ b.mT)
    yield einsum("ij->ji", rand(2, 3), expected=lambda a: a.t())
    wide = ("DataType.INT64",)
    yield einsum(
        "i,j,k->ijk",
        rand(2),
        rand(3),
        rand(4),
        needs=wide,
        expected=lambda a, b, c: a[:, None, None] * b[:, None] * c,
    )
    yield einsum("...ii->...i", rand(2, 3, 3), needs=wide, expected=lambda a: a.diagonal(0, 1, 2))
    yield Case(
        "reduce-SUM-int64",
        lambda net, x: net.n.add_reduce(x, net.enum("ReduceOperation", "SUM"), 1, False),
        (ints(3, 4, dtype=torch.int64),),
        lambda x: x.sum(0),
    )
