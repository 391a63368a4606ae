"""Cases of torch2trt/handlers/normalization.py."""

import torch
import torch.nn.functional as F
from case import case
from torch import nn

from op_cases.networks import seeded

HALF = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3)).half()
MEAN, VAR = torch.tensor([0.5, -0.3, 0.1, 0.0]), torch.tensor([0.5, 1.5, 1.0, 2.0])
WEIGHT, BIAS = torch.tensor([0.5, 1.5, -1.0, 2.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])

CASES = [
    case("batch_norm_3d", seeded(nn.BatchNorm3d(4)), (2, 4, 2, 3, 3)),
    case("batch_norm_no_affine", seeded(nn.BatchNorm2d(4, affine=False, eps=1e-3)), (2, 4, 3, 5),
         dynamic=True),
    case("batch_norm_batch_statistics", lambda x: F.batch_norm(
        x, None, None, WEIGHT.to(x.dtype), BIAS.to(x.dtype), training=True), (3, 4, 5)),
    case("batch_norm_computed_statistics", lambda x, v: F.batch_norm(
        x, MEAN.to(x.dtype), v.abs() + 0.5, WEIGHT.to(x.dtype), BIAS.to(x.dtype)), (2, 4, 3), (4,)),
    case("batch_norm_training", lambda x: F.batch_norm(x, MEAN, VAR, training=True), (3, 4, 5),
         refused=dict.fromkeys(("torch", "tensorrt", "tvm"),
                               "batch_norm in the top module .* writes to")),
    case("native_batch_norm", lambda x: torch.native_batch_norm(
        x, WEIGHT.to(x.dtype), BIAS.to(x.dtype), MEAN.to(x.dtype), VAR.to(x.dtype), False, 0.1,
        1e-5)[0], (2, 4, 3)),
    case("native_batch_norm_functional",
         lambda x: torch.ops.aten._native_batch_norm_legit_functional(
        x, None, BIAS.to(x.dtype), MEAN.to(x.dtype), VAR.to(x.dtype), True, 0.1, 1e-5), (2, 4, 3)),
    case("native_batch_norm_functional_eval",
         lambda x: torch.ops.aten._native_batch_norm_legit_functional(
        x, None, BIAS.to(x.dtype), MEAN.to(x.dtype), VAR.to(x.dtype), False, 0.1, 1e-5)[0],
        (2, 4, 3)),
    case("native_batch_norm_statistics", lambda x: torch.native_batch_norm(
        x, WEIGHT.to(x.dtype), None, None, None, True, 0.1, 1e-5), (2, 4, 3)),
    case("instance_norm", lambda x: F.instance_norm(
        x, weight=WEIGHT.to(x.dtype), bias=BIAS.to(x.dtype), eps=1e-3), (2, 4, 3, 5)),
    case("instance_norm_1d_unbatched", seeded(nn.InstanceNorm1d(4, affine=True)), (4, 6)),
    case("instance_norm_running",
         seeded(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), (2, 4, 3, 5)),
    case("group_norm", seeded(nn.GroupNorm(2, 4)), (2, 4, 3, 5), dynamic=True),
    case("group_norm_rows", lambda x: F.group_norm(x, 3), (4, 6)),
    case("group_norm_3d", lambda x: F.group_norm(x, 2, WEIGHT.to(x.dtype), BIAS.to(x.dtype), 1e-2),
         (1, 4, 2, 3, 2)),
    case("group_norm_shifted", lambda x: F.group_norm(x + 100, 2), (1, 4, 3, 3), rtol=1e-4),
    case("native_group_norm", lambda x: torch.native_group_norm(
        x, WEIGHT.to(x.dtype), BIAS.to(x.dtype), 2, 4, 6, 2, 1e-5), (2, 4, 6)),
    case("layer_norm", seeded(nn.LayerNorm(5)), (2, 3, 5), dynamic=True),
    case("layer_norm_two_dims", seeded(nn.LayerNorm((3, 5), eps=1e-3)), (2, 3, 5)),
    case("layer_norm_plain", lambda x: F.layer_norm(x, (2, 3, 5)), (2, 3, 5)),
    case("layer_norm_bias_only", lambda x: F.layer_norm(x, (4,), None, BIAS.to(x.dtype)), (3, 4)),
    case("layer_norm_half", lambda x: F.layer_norm(x, (5,)), HALF, oracle="same"),
    case("layer_norm_half_float_weight", lambda x: F.layer_norm(x, (5,), torch.linspace(0, 1, 5)),
         HALF, oracle="same"),
    case("native_layer_norm", lambda x: torch.native_layer_norm(
        x, (4,), WEIGHT.to(x.dtype), BIAS.to(x.dtype), 1e-5), (2, 3, 4)),
    case("rms_norm", seeded(nn.RMSNorm(5, eps=1e-3)), (2, 3, 5), dynamic=True),
    case("rms_norm_default_eps", lambda x: F.rms_norm(x, (3, 5)), (2, 3, 5)),
    case("rms_norm_half", lambda x: F.rms_norm(x * 1e-2, (5,)), HALF, oracle="same"),
    case("local_response_norm", lambda x: F.local_response_norm(x, 3), (2, 5, 4, 4)),
    case("weight_norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4)),
    case("weight_norm_computed", lambda v, g: torch._weight_norm(v, g, 1), (3, 4), (1, 4)),
    case("weight_norm_interface", lambda v, g: torch._weight_norm_interface(v, g, 0), (3, 4),
         (3, 1)),
    case("normalize", lambda x: F.normalize(x, dim=-1) + F.normalize(x, p=1.0), (3, 4)),
]  # fmt: skip
