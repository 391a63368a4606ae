"""Cases of torch2trt/handlers/embedding.py, quantization.py and distance.py."""

import torch
import torch.nn.functional as F
from case import case
from torch import nn

from op_cases.networks import seeded

INDEX = torch.tensor([[0, 6, 2], [3, 3, 1]])
FLAT = torch.tensor([0, 6, 2, 3, 3, 1, 5])
OFFSETS = torch.tensor([0, 2, 2, 5])
NOT_FINITE = torch.ones(7, 4)
NOT_FINITE[1, 0] = NOT_FINITE[6, 1] = torch.nan
NOT_FINITE[2, 1:] = NOT_FINITE[3, 0] = torch.inf
NOT_FINITE[5, :3] = NOT_FINITE[3, 2] = -torch.inf
STEPS = torch.tensor([[-2.0, -0.151, 0.05, 0.149], [0.15, 0.25, 1.3, 9.0]])
SCALES, ZEROS = torch.tensor([0.1, 0.03, 0.5, 1.0]), torch.tensor([0, 3, 20, 1], dtype=torch.int32)
OBSERVED = torch.tensor([0.125, 0.03125, 0.5, 1.0])

OFF, ON = torch.tensor([0]), torch.tensor([1])


def bag(name, mode, *inputs, **options):
    """A case of nn.EmbeddingBag."""
    return case(f"embedding_bag_{name}", seeded(nn.EmbeddingBag(7, 4, mode=mode, **options)),
                *inputs)


def observed(x, is_on, by_channel, factor=1):
    """Fake quantisation with an observer that is switched off, whose scales are those of its
    ranges: PyTorch computes them from the ranges again on a CPU.
    """
    scales, zeros = OBSERVED[: 4 if by_channel else 1], ZEROS[: 4 if by_channel else 1]
    return torch.fused_moving_avg_obs_fake_quant(
        x, OFF, ON if is_on else OFF, -zeros * scales, (255 - zeros) * scales, scales * factor,
        zeros.clone(), 0.01, 0, 255, 1, by_channel, False,
    )  # fmt: skip


CASES = [
    bag("sum", "sum", INDEX),
    bag("mean", "mean", INDEX),
    bag("max", "max", INDEX),
    bag("mean_offsets", "mean", FLAT, OFFSETS),
    bag("max_offsets", "max", FLAT, OFFSETS),
    bag("last_offset", "sum", FLAT, torch.tensor([0, 2, 7]), include_last_offset=True),
    bag("padding", "mean", INDEX, padding_idx=3),
    bag("padding_max", "max", FLAT, OFFSETS, padding_idx=-1),
    *[case(f"embedding_bag_{mode}_not_finite",
           lambda w, mode=mode: F.embedding_bag(FLAT, w, OFFSETS, mode=mode), NOT_FINITE,
           oracle="same") for mode in ("sum", "mean")],
    *[case(f"embedding_bag_{mode}_not_finite_rows",
           lambda w, mode=mode: (F.embedding_bag(INDEX, w, mode=mode),
                                 F.embedding_bag(INDEX, w, mode=mode, padding_idx=2)),
           NOT_FINITE, oracle="same") for mode in ("sum", "mean")],
    case("embedding_bag_max_infinite",
         lambda w: (F.embedding_bag(INDEX, w, mode="max"), F.embedding_bag(FLAT, w, OFFSETS,
                                                                           mode="max")),
         torch.where(NOT_FINITE.isnan(), 1, NOT_FINITE), oracle="same"),
    case("embedding_bag_padding_everywhere",
         lambda w: F.embedding_bag(INDEX // 4, w, mode="mean", padding_idx=0), (7, 4)),
    bag("of_other_lengths", "sum", FLAT, OFFSETS),
    case("embedding_bag_offsets_computed",
         lambda w, o: F.embedding_bag(FLAT, w, o, mode="sum"), NOT_FINITE, OFFSETS,
         oracle="same"),
    case("embedding_bag_weights",
         lambda w, s: F.embedding_bag(INDEX, w, mode="sum", per_sample_weights=s),
         (7, 4), (2, 3)),
    case("fake_quantize", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 3, -8, 7), STEPS,
         oracle="same"),
    case("fake_quantize_qparams", lambda x: torch.fake_quantize_per_tensor_affine(
        x, torch.tensor([0.02]), torch.tensor([-5], dtype=torch.int32), -128, 127), STEPS,
        oracle="same"),
    case("fake_quantize_observer_off", lambda x: observed(x, 1, False), STEPS, oracle="same"),
    case("fake_quantize_observer_off_channels", lambda x: observed(x, 1, True), STEPS,
         oracle="same"),
    case("fake_quantize_of_another_scale", lambda x: observed(x, 1, True, 2), STEPS,
         refused=dict.fromkeys(("tensorrt", "tvm"), "that the ranges do not give"), oracle="same"),
    case("fake_quantize_off", lambda x: observed(x, 0, False) * 2, STEPS, oracle="same"),
    case("fake_quantize_channels",
         lambda x: torch.fake_quantize_per_channel_affine(x, SCALES, ZEROS, 1, 0, 255), STEPS,
         oracle="same"),
    case("quantize_per_tensor",
         lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize(), STEPS,
         refused=dict.fromkeys(("tensorrt", "tvm"), "quantised"), oracle="same"),
    case("cosine_similarity", F.cosine_similarity, (3, 4, 5), (3, 4, 5)),
    case("cosine_similarity_repeated", lambda x, y: F.cosine_similarity(x, y, dim=-2), (1, 2, 3),
         (2, 1, 3)),
    case("cosine_similarity_broadcast", lambda x, y: F.cosine_similarity(x, y * 1e-9, dim=-1),
         (3, 1, 5), (4, 5)),
    case("pairwise_distance", F.pairwise_distance, (3, 5), (3, 5)),
    case("pairwise_distance_keep", lambda x, y: F.pairwise_distance(x, y, p=3.0, keepdim=True),
         (3, 5), (5,)),
    case("pairwise_distance_infinity", lambda x, y: F.pairwise_distance(x, y, p=float("inf")),
         (3, 5), (3, 5)),
    case("pairwise_distance_zero", lambda x, y: F.pairwise_distance(x, y.round(), p=0.0, eps=0.0),
         torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), (2, 3)),
    case("pairwise_distance_vectors", F.pairwise_distance, (5,), (5,)),
    case("pairwise_distance_half", lambda x: F.pairwise_distance(x, x.flip(0), p=3.0),
         torch.linspace(-3, 3, 12).reshape(3, 4).half(), oracle="same"),
]  # fmt: skip
