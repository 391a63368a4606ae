"""Cases of torch2trt/handlers/vision.py."""

import torch
import torchvision.ops as tv
from case import case

GENERATOR = torch.Generator().manual_seed(4)
CORNERS = torch.rand(6, 2, generator=GENERATOR) * 9 - 1
BOXES = torch.cat([CORNERS, CORNERS + torch.rand(6, 2, generator=GENERATOR) * 7], 1)
ROIS = torch.cat([torch.tensor([[0.0], [1], [1], [0], [0], [1]]), BOXES], 1)
SCORES = torch.tensor([0.3, -0.2, 0.9, 0.4, 0.8, 0.1])
OVERLAPS = torch.tensor([[0, 0, 4, 4], [1, 1, 5, 5], [0, 0, 4, 3.5], [8, 8, 9, 9], [8, 8, 9, 9.5],
                         [3, 3, 7, 7]])

FAR = torch.randn(1, 12, 3, 5, generator=torch.Generator().manual_seed(5))
FAR = FAR.masked_fill(FAR > 1, torch.inf).masked_fill(FAR < -1, -torch.inf)


def deform(name, groups, offset_groups, mask, out, **options):
    """A case of deform_conv2d of 4 channels with a kernel of 3 x 2, whose output size is `out`."""
    weight = torch.randn(6, 4 // groups, 3, 2, generator=GENERATOR)
    bias = torch.randn(6, generator=GENERATOR)

    def program(x, offset, mask=None):
        return tv.deform_conv2d(x, offset, weight.to(x.dtype), bias.to(x.dtype), mask=mask,
                                **options)

    masks = [(2, 6 * offset_groups, *out)] if mask else []
    return case(name, program, (2, 4, 7, 6), (2, 12 * offset_groups, *out), *masks)


CASES = [
    case("roi_align", lambda x, r: tv.roi_align(x, r, (3, 2), 0.7, 2), (2, 3, 8, 9), ROIS),
    case("roi_align_aligned", lambda x, r: tv.roi_align(x, r, 3, 1.0, 3, aligned=True),
         (2, 3, 8, 9), ROIS),
    case("roi_align_one_image", lambda x, b: tv.roi_align(x, [b], 3, 1.0, 2), (1, 3, 8, 9), BOXES),
    case("roi_align_adaptive", lambda x, r: tv.roi_align(x, r, 3), (2, 3, 8, 9), ROIS,
         refused=dict.fromkeys(("tensorrt", "tvm"), "sampling_ratio")),
    case("roi_pool", lambda x, r: tv.roi_pool(x, r, (3, 2), 0.7), (2, 3, 8, 9), ROIS),
    case("ps_roi_align", lambda x, r: tv.ps_roi_align(x, r, (3, 2), 0.7, 2), (2, 12, 8, 9), ROIS),
    case("ps_roi_pool", lambda x, r: tv.ps_roi_pool(x, r, (3, 2), 0.7), (2, 12, 8, 9), ROIS),
    deform("deform_conv2d", 1, 1, True, (5, 5)),
    deform("deform_conv2d_groups", 2, 2, False, (4, 4), stride=(2, 2), padding=(2, 1),
           dilation=(2, 1)),
    case("deform_conv2d_infinite",
         lambda x, offset: tv.deform_conv2d(x, offset, torch.ones(6, 4, 3, 2, dtype=x.dtype)),
         (1, 4, 5, 6), FAR),
    case("nms", lambda b, s: tv.nms(b, s, 0.4), OVERLAPS, SCORES,
         refused={"tvm": "depends on the data"}),
    case("batched_nms", lambda b, s, i: tv.batched_nms(b, s, i, 0.4), OVERLAPS, SCORES,
         torch.tensor([0, 0, 1, 0, 1, 1]), refused={"tvm": "depends on the data"}),
    case("nms_of_nothing", lambda b, s: tv.nms(b, s, 0.4), OVERLAPS[:0], SCORES[:0],
         refused={"tvm": "depends on the data"}),
]  # fmt: skip
