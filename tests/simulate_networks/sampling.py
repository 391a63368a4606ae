"""Resize and grid sample."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from .case import Case
from .data import rand


def cases() -> Iterator[Case]:
    yield from _nearest()
    yield from _smooth()
    yield from _grids()


def _resize(name, x, expected, shape=None, scales=None, **attributes):
    def build(net, x):
        layer = net.n.add_resize(x)
        if shape is not None:
            layer.shape = shape
        if scales is not None:
            layer.scales = scales
        for key, value in attributes.items():
            setattr(layer, key, value if key in _PLAIN else net.enum(_ENUMS[key], value))
        return layer

    return Case(f"resize-{name}", build, (x,), expected, atol=1e-5, rtol=1e-4)


_PLAIN = ("exclude_outside", "cubic_coeff")
_ENUMS = {
    "resize_mode": "InterpolationMode",
    "coordinate_transformation": "ResizeCoordinateTransformation",
    "selector_for_single_pixel": "ResizeSelector",
    "nearest_rounding": "ResizeRoundMode",
}


def _line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def _nearest() -> Iterator[Case]:
    x = rand(1, 2, 3, 4)
    yield _resize("nearest", x, lambda x: F.interpolate(x, size=(6, 8)), (1, 2, 6, 8))
    yield _resize(
        "nearest-scales", x, lambda x: F.interpolate(x, size=(4, 6)), None, (1, 1, 1.5, 1.5)
    )
    # Four elements from six: the coordinates are 0.25, 1.75, 3.25, 4.75 with half pixels.
    # Three from six: 0.5, 2.5, 4.5, all of them ties.
    for name, rounding, expected in (
        ("FLOOR", "FLOOR", _line(0, 1, 3, 4)),
        ("CEIL", "CEIL", _line(1, 2, 4, 5)),
        ("HALF_UP", "HALF_UP", _line(0, 2, 3, 5)),
        ("HALF_DOWN", "HALF_DOWN", _line(0, 2, 3, 5)),
        ("tie-HALF_UP", "HALF_UP", _line(1, 3, 5)),
        ("tie-HALF_DOWN", "HALF_DOWN", _line(0, 2, 4)),
    ):
        yield _resize(
            f"nearest-{name}",
            _line(0, 1, 2, 3, 4, 5),
            expected,
            tuple(expected.shape),
            coordinate_transformation="HALF_PIXEL",
            nearest_rounding=rounding,
        )
    yield _resize("nearest-3d", rand(2, 2, 3, 4), lambda x: x.repeat_interleave(2, 1), (2, 4, 3, 4))

    yield _resize("nearest-half", x.half(), lambda x: F.interpolate(x, size=(6, 8)), (1, 2, 6, 8))

    def dynamic(net, x):
        layer = net.n.add_resize(x)
        layer.set_input(1, net.index([1, 2, 6, 8]))
        return layer

    yield Case("resize-shape_tensor", dynamic, (x,), lambda x: F.interpolate(x, size=(6, 8)))


def _smooth() -> Iterator[Case]:
    x = rand(1, 2, 5, 7)
    torch_modes = {"LINEAR": "bilinear", "CUBIC": "bicubic"}
    for mode, name in torch_modes.items():
        for transformation, corners in {"HALF_PIXEL": False, "ALIGN_CORNERS": True}.items():
            for size in ((9, 4), (3, 12)):
                yield _resize(
                    f"{mode}-{transformation}-{size[0]}",
                    x,
                    lambda x, m=name, s=size, c=corners: F.interpolate(
                        x, s, mode=m, align_corners=c
                    ),
                    (1, 2, *size),
                    resize_mode=mode,
                    coordinate_transformation=transformation,
                )
    # Six from four: every 2/3 of an element, counted from the first.
    yield _resize(
        "LINEAR-ASYMMETRIC",
        _line(0, 3, 6, 9),
        _line(0, 2, 4, 6, 8, 9),
        (1, 1, 1, 6),
        resize_mode="LINEAR",
        coordinate_transformation="ASYMMETRIC",
    )
    # Five elements times 1.5 are 7, and an element is 1/1.5 of the input, not 5/7.
    yield _resize(
        "LINEAR-scales",
        _line(0, 3, 6, 9, 12),
        _line(0, 2, 4, 6, 8, 10, 12),
        None,
        (1, 1, 1, 1.5),
        resize_mode="LINEAR",
        coordinate_transformation="ASYMMETRIC",
    )
    for selector, value in {"FORMULA": 2.0, "UPPER": 0.0}.items():
        yield _resize(
            f"single_pixel-{selector}",
            _line(0, 1, 2, 3, 4),
            _line(value),
            (1, 1, 1, 1),
            resize_mode="LINEAR",
            coordinate_transformation="HALF_PIXEL",
            selector_for_single_pixel=selector,
        )
    yield _resize(
        "LINEAR-3d",
        rand(1, 2, 3, 4, 5),
        lambda x: F.interpolate(x, (4, 3, 8), mode="trilinear"),
        (1, 2, 4, 3, 8),
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
    )
    yield _resize(
        "CUBIC-coefficient",
        _line(1, 2, 4, 8).expand(1, 1, 4, 4).contiguous(),
        _cubic_by_hand,
        (1, 1, 4, 8),
        resize_mode="CUBIC",
        coordinate_transformation="HALF_PIXEL",
        cubic_coeff=-0.5,
        exclude_outside=1,
    )


def _cubic_by_hand(x: torch.Tensor) -> torch.Tensor:
    """Doubles a row by cubic convolution with a = -0.5, using only elements that exist."""

    def weight(d: float, a: float = -0.5) -> float:
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    row = x[0, 0, 0].tolist()
    result = []
    for i in range(8):
        centre = (i + 0.5) / 2 - 0.5
        weights = [weight(centre - j) for j in range(4)]
        result.append(sum(w * v for w, v in zip(weights, row, strict=True)) / sum(weights))
    return torch.tensor(result).expand(1, 1, 4, 8)


def _grids() -> Iterator[Case]:
    modes = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
    borders = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
    x, grid = rand(1, 2, 5, 6), rand(1, 4, 3, 2, low=-1.3, high=1.3)
    for mode, torch_mode in modes.items():
        for border, torch_border in borders.items():
            for corners in (False, True):

                def build(net, x, grid, mode=mode, border=border, corners=corners):
                    layer = net.n.add_grid_sample(x, grid)
                    layer.interpolation_mode = net.enum("InterpolationMode", mode)
                    layer.sample_mode = net.enum("SampleMode", border)
                    layer.align_corners = corners
                    return layer

                def expected(x, grid, m=torch_mode, b=torch_border, c=corners):
                    return F.grid_sample(x, grid, m, b, c)

                name = f"grid_sample-{mode}-{border}{'-corners' if corners else ''}"
                # Every other combination agrees; no rule was found that gives its figures.
                inexact = (mode, border) == ("CUBIC", "FILL")
                unlike = "TensorRT 8.6 weighs what lies outside differently, by up to 0.03"
                yield Case(
                    name, build, (x, grid), expected, atol=1e-4, unlike=unlike if inexact else ""
                )
    # The exact centre between four elements, and a corner.
    square = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    yield Case(
        "grid_sample-by_hand",
        lambda net, x, grid: net.n.add_grid_sample(x, grid),
        (square, torch.tensor([[[[0.0, 0.0], [-1.0, -1.0], [0.5, -0.5]]]])),
        torch.tensor([[[[2.5, 0.25, 2.0]]]]),
    )
