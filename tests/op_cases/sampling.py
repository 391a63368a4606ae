"""Cases of torch2trt/handlers/upsampling.py, fold.py, pooling.py and pooling_indices.py."""

import torch
import torch.nn.functional as F
from case import case

TIES = torch.tensor([[[[1.0, 1, 0, 2], [1, 1, 2, 0], [-3, -1, -1, -3], [-2, -1, -1, -5]]]])
GRID = torch.rand(2, 4, 5, 2, generator=torch.Generator().manual_seed(2)) * 2.6 - 1.3
GRID3 = torch.rand(1, 2, 3, 4, 3, generator=torch.Generator().manual_seed(2)) * 2.6 - 1.3
UNPOOL = torch.nn.MaxUnpool2d(2)
SAMPLES = torch.tensor([[[0.3, 0.8], [0.6, 0.1]]])


def up(name, shape, mode, dynamic=False, **options):
    """A case of F.interpolate."""
    return case(f"interpolate_{name}", lambda x: F.interpolate(x, mode=mode, **options), shape,
                dynamic=dynamic)


CASES = [
    up("nearest1d", (2, 3, 5), "nearest", scale_factor=2),
    up("nearest", (1, 3, 4, 5), "nearest", size=(7, 10), dynamic=True),
    up("nearest_fraction", (1, 3, 4, 5), "nearest", scale_factor=(1.7, 0.6)),
    up("nearest_of_the_same_size", (1, 3, 4, 5), "nearest", scale_factor=1.1),
    up("bilinear_of_one_same_size", (1, 3, 4, 5), "bilinear", scale_factor=(1.1, 1.7)),
    up("nearest3d", (1, 2, 3, 4, 2), "nearest", scale_factor=2),
    up("nearest_exact", (1, 3, 4, 5), "nearest-exact", size=(7, 3)),
    up("nearest_exact_factor", (1, 3, 4, 5), "nearest-exact", scale_factor=1.7),
    up("linear1d", (2, 3, 5), "linear", scale_factor=2),
    up("linear1d_corners", (2, 3, 5), "linear", size=8, align_corners=True),
    up("bilinear", (1, 3, 4, 5), "bilinear", scale_factor=2, dynamic=True),
    up("bilinear_corners", (1, 3, 4, 5), "bilinear", size=(7, 3), align_corners=True),
    up("bilinear_fraction", (1, 3, 4, 5), "bilinear", scale_factor=1.7),
    up("bilinear_recomputed", (1, 3, 4, 5), "bilinear", scale_factor=1.7,
       recompute_scale_factor=True),
    up("bilinear_to_one", (1, 3, 4, 5), "bilinear", size=(1, 1), align_corners=True),
    up("bicubic", (1, 3, 4, 5), "bicubic", size=(9, 7)),
    up("bicubic_corners", (1, 3, 4, 5), "bicubic", scale_factor=2, align_corners=True),
    up("bicubic_fraction", (1, 3, 4, 5), "bicubic", scale_factor=0.7),
    up("trilinear", (1, 2, 3, 4, 2), "trilinear", scale_factor=2),
    up("trilinear_corners", (1, 2, 3, 4, 2), "trilinear", size=(4, 3, 5), align_corners=True),
    up("antialias_bilinear", (1, 3, 9, 8), "bilinear", size=(4, 5), antialias=True),
    up("antialias_bilinear_corners", (2, 3, 9, 8), "bilinear", size=(4, 12), antialias=True,
       align_corners=True),
    up("antialias_bicubic", (1, 3, 9, 8), "bicubic", scale_factor=0.45, antialias=True),
    case("interpolate_by_ratio", lambda x: torch.ops.aten.upsample_bilinear2d(
        x, [6, 7], False, -1.0, -1.0), (1, 2, 4, 5)),
    case("grid_sample", lambda x: F.grid_sample(x, GRID.to(x.dtype), align_corners=False),
         (2, 3, 5, 6)),
    case("grid_sample_border",
         lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=True),
         (2, 3, 5, 6), GRID),
    case("grid_sample_reflection_nearest",
         lambda x, g: F.grid_sample(x, g, "nearest", "reflection", False),
         (2, 3, 5, 6), GRID),
    case("grid_sample_bicubic", lambda x, g: F.grid_sample(x, g, "bicubic", "zeros", False),
         (2, 3, 5, 6), GRID),
    case("grid_sample_3d", lambda x, g: F.grid_sample(x, g, align_corners=False), (1, 2, 3, 4, 5),
         GRID3),
    case("grid_sample_3d_border",
         lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=True),
         (1, 2, 3, 4, 5), GRID3),
    case("affine_grid", lambda t: F.affine_grid(t, (2, 3, 4, 5), align_corners=False), (2, 2, 3)),
    case("affine_grid_corners_3d", lambda t: F.affine_grid(t, (2, 3, 4, 5, 2), align_corners=True),
         (2, 3, 4)),
    case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (2, 8, 3, 4), dynamic=True),
    case("pixel_shuffle_unbatched", lambda x: F.pixel_shuffle(x, 3), (9, 3, 4)),
    case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6)),
    case("channel_shuffle", lambda x: F.channel_shuffle(x, 3), (2, 6, 3, 2), dynamic=True),
    case("channel_shuffle_rows", lambda x: F.channel_shuffle(x, 2), (2, 6, 3)),
    case("unfold", lambda x: F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)),
         (2, 3, 5, 7)),
    case("unfold_unbatched", lambda x: F.unfold(x, 2), (3, 4, 5)),
    case("fold",
         lambda x: F.fold(x, (5, 7), (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)),
         (2, 12, 15)),
    case("fold_unbatched", lambda x: F.fold(x, (4, 5), 2, stride=2), (12, 4)),
    case("max_pool2d_indices", lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
         (2, 2, 8, 9)),
    case("max_pool2d_indices_ties", lambda x: F.max_pool2d(x, 2, 1, return_indices=True), TIES),
    case("max_pool2d_indices_ceil", lambda x: F.max_pool2d(
        x, (3, 2), 2, (1, 0), (1, 2), ceil_mode=True, return_indices=True), (2, 8, 8)),
    case("max_pool2d_indices_dilated_ties",
         lambda x: F.max_pool2d(x, 3, 1, 1, 2, return_indices=True), TIES),
    case("max_pool2d_indices_outside", lambda x: F.max_pool2d(x, 2, 1, 1, 4, return_indices=True),
         (1, 2, 3, 3), refused={"tensorrt": "lie outside", "tvm": "lie outside"}),
    case("max_pool1d_indices", lambda x: F.max_pool1d(x, 3, 2, 1, return_indices=True), (2, 2, 8)),
    case("max_pool3d_indices", lambda x: F.max_pool3d(x, 2, return_indices=True), (1, 2, 4, 5, 6)),
    case("max_pool2d_indices_of_nothing", lambda x: torch.ops.aten.max_unpool2d(
        *F.max_pool2d(x, 2, return_indices=True), (4, 6)), (0, 2, 4, 6)),
    case("adaptive_max_pool1d_of_nothing",
         lambda x: F.adaptive_max_pool1d(x, 3, return_indices=True), (0, 3, 8)),
    case("adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x, 3, return_indices=True),
         (2, 3, 8)),
    case("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (3, None), return_indices=True),
         (2, 3, 7, 5)),
    case("adaptive_max_pool2d_one", lambda x: F.adaptive_max_pool2d(x, 1), (2, 3, 7, 5),
         dynamic=True),
    case("adaptive_max_pool3d", lambda x: F.adaptive_max_pool3d(x, (2, 1, 3)), (1, 2, 3, 4, 5)),
    case("adaptive_avg_pool1d_odd", lambda x: F.adaptive_avg_pool1d(x, 3), (2, 3, 8)),
    case("adaptive_avg_pool3d", lambda x: F.adaptive_avg_pool3d(x, (2, None, 3)), (1, 2, 3, 4, 5)),
    case("fractional_max_pool2d", lambda x: F.fractional_max_pool2d(
        x, 2, (3, 4), return_indices=True, _random_samples=SAMPLES.to(x.dtype)), (1, 2, 7, 8)),
    case("fractional_max_pool3d", lambda x: torch.ops.aten.fractional_max_pool3d(
        x, 2, (2, 3, 3), torch.tensor([[[0.3, 0.8, 0.5]]], dtype=x.dtype)), (1, 1, 5, 6, 7)),
    case("max_unpool2d_module", lambda x: UNPOOL(*F.max_pool2d(x, 2, return_indices=True)),
         (2, 3, 6, 4)),
    case("max_unpool3d_size", lambda x: F.max_unpool3d(
        *F.max_pool3d(x, 2, return_indices=True), 2, output_size=x.shape), (1, 2, 4, 5, 3)),
    case("max_unpool2d", lambda x: torch.ops.aten.max_unpool2d(
        *F.max_pool2d(x, 2, return_indices=True), [5, 6]), (1, 2, 5, 6)),
    case("max_unpool1d", lambda x: F.max_unpool1d(
        *F.max_pool1d(x, 2, return_indices=True), 2, output_size=[7]), (2, 2, 7)),
    case("max_unpool3d", lambda x: torch.ops.aten.max_unpool3d(
        *F.max_pool3d(x, 2, return_indices=True), [2, 4, 6], [2, 2, 2], [0, 0, 0]),
        (1, 2, 2, 4, 6)),
    case("lp_pool2d", lambda x: F.lp_pool2d(x, 2, 3, 2), (1, 2, 8, 9)),
    case("avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False), (2, 3, 9),
         dynamic=True),
    case("avg_pool3d", lambda x: F.avg_pool3d(x, 2, 2, 1), (1, 2, 4, 5, 6)),
    case("avg_pool2d_divisor_ceil", lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, divisor_override=5), (1, 2, 8, 8)),
    case("max_pool3d", lambda x: F.max_pool3d(x, 2, 2, 1, ceil_mode=True), (1, 2, 4, 5, 6)),
    case("max_pool2d_infinite", lambda x: F.max_pool2d(x.masked_fill(x < 0, float("-inf")), 2, 1),
         (1, 2, 4, 4), oracle="same"),
    case("masked_fill_infinite", lambda x: (x.masked_fill(x < 0, float("-inf")),
                                            x.masked_fill(x > 0, float("inf"))),
         (3, 5), oracle="same"),
]  # fmt: skip
