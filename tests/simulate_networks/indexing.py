"""Gather, scatter, one-hot, reversal, non-zero, non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .case import Case
from .data import rand

_NO_RUNNER = "TensorRT-RTX defines this layer but has no kernel for it"


def _i(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def cases() -> Iterator[Case]:
    yield from _gathers()
    yield from _scatters()
    yield from _others()
    yield from _selections()


def _gather(name, x, indices, expected, mode="DEFAULT", axis=0, batch=0, **options):
    def build(net, x, indices):
        layer = net.n.add_gather_v2(x, indices, net.enum("GatherMode", mode))
        if mode != "ND":
            layer.axis = axis
        layer.num_elementwise_dims = batch
        return layer

    return Case(f"gather-{name}", build, (x, indices), expected, **options)


def _gathers() -> Iterator[Case]:
    x = rand(3, 4, 5)
    yield _gather("rows", x, _i([2, 0]), lambda x, i: x[[2, 0]])
    yield _gather("matrix", x, _i([[0, 1], [3, 3]]), lambda x, i: x[:, [[0, 1], [3, 3]]], axis=1)
    yield _gather("scalar", x, _i(2), lambda x, i: x[:, 2], axis=1)
    yield _gather("int64", x, torch.tensor([2, 0]), lambda x, i: x[[2, 0]])
    yield _gather("bool", x > 0, _i([2, 0]), lambda x, i: x[[2, 0]])
    yield _gather("negative", x, _i([-1, 0]), lambda x, i: x[[2, 0]])
    yield _gather(
        "outside_is_zero",
        rand(3, 2),
        _i([0, 3]),
        lambda x, i: torch.stack([x[0], torch.zeros(2)]),
    )
    batched = _i([[1, 0], [2, 2], [3, 0]])
    yield _gather(
        "batched",
        x,
        batched,
        lambda x, i: torch.stack([row[index.tolist()] for row, index in zip(x, i, strict=True)]),
        axis=1,
        batch=1,
    )
    element = _i([[0, 1, 1], [2, 0, 1]])
    yield _gather(
        "element", rand(3, 3), element, lambda x, i: x.gather(0, i.long()), "ELEMENT", axis=0
    )
    yield _gather("nd", x, _i([[0, 1], [2, 3]]), lambda x, i: torch.stack([x[0, 1], x[2, 3]]), "ND")
    yield _gather(
        "nd-batched",
        x,
        _i([[[3]], [[0]], [[1]]]),
        lambda x, i: torch.stack([x[0, 3], x[1, 0], x[2, 1]])[:, None],
        "ND",
        batch=1,
    )


def _scatters() -> Iterator[Case]:
    def build(net, x, indices, updates, mode, axis=0):
        layer = net.n.add_scatter(x, indices, updates, net.enum("ScatterMode", mode))
        layer.axis = axis
        return layer

    def elements(x, indices, updates):
        result = x.clone()
        for row in range(2):
            for column in range(2):
                result[row, indices[row, column]] = updates[row, column]
        return result

    yield Case(
        "scatter-element",
        lambda net, *xs: build(net, *xs, "ELEMENT", 1),
        (rand(2, 4), _i([[1, 3], [0, 2]]), rand(2, 2, seed=4)),
        elements,
    )

    def rows(x, indices, updates):
        result = x.clone()
        result[2], result[0] = updates[0], updates[1]
        return result

    yield Case(
        "scatter-nd",
        lambda net, *xs: build(net, *xs, "ND"),
        (rand(3, 4), _i([[2], [0]]), rand(2, 4, seed=4)),
        rows,
    )

    def points(x, indices, updates):
        result = x.clone()
        result[2, 1], result[0, 3] = updates[0], updates[1]
        return result

    yield Case(
        "scatter-nd-points",
        lambda net, *xs: build(net, *xs, "ND"),
        (rand(3, 4), _i([[2, 1], [0, 3]]), rand(2, seed=4)),
        points,
    )


def _others() -> Iterator[Case]:
    for axis in (0, -1):
        yield Case(
            f"one_hot-{axis}",
            lambda net, i, axis=axis: net.n.add_one_hot(
                i, net.const([-1.0, 2.0]), net.index(4), axis
            ),
            (_i([[0, 3, 1]]),),
            lambda i, axis=axis: torch.where(
                torch.nn.functional.one_hot(i.long(), 4).bool().movedim(-1, axis), 2.0, -1.0
            ),
        )

    def reverse(net, x, lengths, batch=1, sequence=0):
        layer = net.n.add_reverse_sequence(x, lengths)
        layer.batch_axis, layer.sequence_axis = batch, sequence
        return layer

    x = torch.arange(12.0).reshape(4, 3)
    columns = torch.tensor([[0.0, 4, 11], [3, 1, 8], [6, 7, 5], [9, 10, 2]])
    yield Case("reverse_sequence", reverse, (x, _i([1, 2, 4])), columns)
    yield Case(
        "reverse_sequence-batch_first",
        lambda net, x, lengths: reverse(net, x, lengths, 0, 1),
        (x.t().contiguous(), _i([1, 2, 4])),
        columns.t(),
    )


def _selections() -> Iterator[Case]:
    yield Case(
        "non_zero",
        lambda net, x: net.n.add_non_zero(x),
        (torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, -1.0]]),),
        torch.tensor([[0, 1, 1], [1, 0, 2]], dtype=torch.int32),
        unbuildable=_NO_RUNNER,
    )
    # Boxes 0 and 1 overlap by 81 / 119 = 0.68; box 2 lies apart; box 3 scores below the threshold.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 25, 25], [40, 40, 41, 41]]])
    scores = torch.tensor([[[0.8, 0.3], [0.9, 0.6], [0.7, 0.2], [0.1, 0.05]]])
    picked = {
        0.5: [[0, 0, 1], [0, 0, 2], [0, 1, 1]],
        0.7: [[0, 0, 1], [0, 0, 0], [0, 1, 1], [0, 1, 0]],
    }
    for overlap, rows in picked.items():
        most = 3 if overlap < 0.6 else 2

        def build(net, boxes, scores, overlap=overlap, most=most, formats="CORNER_PAIRS"):
            layer = net.n.add_nms(boxes, scores, net.index(most))
            layer.set_input(3, net.const(overlap))
            layer.set_input(4, net.const(0.25))
            layer.bounding_box_format = net.enum("BoundingBoxFormat", formats)
            return layer

        expected = (
            torch.tensor(rows, dtype=torch.int32),
            torch.tensor(len(rows), dtype=torch.int32),
        )
        yield Case(f"nms-{overlap}", build, (boxes, scores), expected, unbuildable=_NO_RUNNER)
    low, high = boxes[..., :2], boxes[..., 2:]
    yield Case(
        "nms-centres",
        lambda net, b, s: build(net, b, s, 0.5, 3, "CENTER_SIZES"),
        (torch.cat([(low + high) / 2, high - low], -1), scores),
        (torch.tensor(picked[0.5], dtype=torch.int32), torch.tensor(3, dtype=torch.int32)),
        unbuildable=_NO_RUNNER,
    )
