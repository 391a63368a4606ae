"""Cases of torch2trt/handlers/attention.py."""

import torch
import torch.nn.functional as F
from case import case
from torch import nn

from op_cases.networks import seeded

KEPT = torch.tensor([[True, True, False, True], [True, False, False, True],
                     [False, False, False, True]])
NONE_KEPT = torch.tensor([[True, True, False, True], [False, False, False, False],
                          [False, False, False, True]])
HALF = torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(5)).half()
LAYER = seeded(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)).requires_grad_(False)
LEFT_OUT = torch.tensor([[False, False, True], [False, False, False]])


def sdpa(name, *shapes, **options):
    """A case of scaled_dot_product_attention."""
    dynamic = options.pop("dynamic", False)
    return case(f"attention_{name}",
                lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), *shapes,
                dynamic=dynamic)


def fast_path(x, mask=None, mask_type=None, gelu=True, norm_first=False):
    """The fused encoder layer."""
    a, n1, n2 = LAYER.self_attn, LAYER.norm1, LAYER.norm2
    w = [p.to(x.dtype)
         for p in (a.in_proj_weight, a.in_proj_bias, a.out_proj.weight, a.out_proj.bias)]
    f = [p.to(x.dtype)
         for p in (n1.weight, n1.bias, n2.weight, n2.bias, LAYER.linear1.weight, LAYER.linear1.bias,
                                 LAYER.linear2.weight, LAYER.linear2.bias)]
    return torch._transformer_encoder_layer_fwd(x, 8, 2, *w, gelu, norm_first, 1e-5, *f, mask,
                                                mask_type)


def multi_head(x, k, v, mask=None, average=True, mask_type=None, need_weights=True):
    """The fused attention."""
    a = LAYER.self_attn
    w = [p.to(x.dtype)
         for p in (a.in_proj_weight, a.in_proj_bias, a.out_proj.weight, a.out_proj.bias)]
    result = torch._native_multi_head_attention(x, k, v, 8, 2, *w, mask, need_weights, average,
                                                mask_type)
    return result if need_weights else result[0]


CASES = [
    sdpa("plain", (2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 6), dynamic=True),
    sdpa("causal", (1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), is_causal=True),
    sdpa("causal_longer_keys", (1, 2, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8), is_causal=True),
    sdpa("scale", (2, 4, 8), (2, 5, 8), (2, 5, 8), scale=0.3),
    sdpa("two_dims", (4, 8), (5, 8), (5, 8)),
    sdpa("bool_mask", (1, 2, 3, 8), (1, 2, 4, 8), (1, 2, 4, 8), attn_mask=KEPT),
    sdpa("nothing_kept", (1, 2, 3, 8), (1, 2, 4, 8), (1, 2, 4, 8), attn_mask=NONE_KEPT),
    sdpa("grouped", (1, 4, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8), enable_gqa=True),
    sdpa("five_dims", (2, 2, 2, 3, 4), (2, 2, 2, 5, 4), (2, 2, 2, 5, 4)),
    case("attention_float_mask", lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
         (2, 2, 3, 8), (2, 2, 4, 8), (2, 2, 4, 8), (2, 1, 3, 4)),
    case("attention_ranks_differ", F.scaled_dot_product_attention, (4, 3, 8), (2, 4, 6, 8),
         (2, 4, 6, 8)),
    case("attention_empty_heads", F.scaled_dot_product_attention, (2, 3, 0), (2, 4, 0), (2, 4, 5)),
    case("attention_half", lambda q: F.scaled_dot_product_attention(q, q * 2, q + 1), HALF,
         oracle="same"),
    case("attention_half_causal",
         lambda q: F.scaled_dot_product_attention(q, q * 2, q, is_causal=True), HALF,
         oracle="same"),
    case("attention_half_mask",
         lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=torch.eye(4).bool()), HALF,
         oracle="same"),
    case("attention_logsumexp",
         lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, True), (1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), oracle="same"),
    case("attention_math",
         lambda q, k, v: torch.ops.aten._scaled_dot_product_attention_math(q, k, v),
         (1, 2, 4, 8), (1, 2, 5, 8), (1, 2, 5, 8)),
    case("attention_dropout", lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=0.5),
         (1, 2, 4, 8),
         refused=dict.fromkeys(("tensorrt", "tvm"), "random"),
         wrong={"torch": "two runs draw different numbers"},
         oracle="same"),
    case("multi_head_attention", seeded(nn.MultiheadAttention(8, 2, batch_first=True)),
         *[(2, 3, 8)] * 3),
    case("multi_head_attention_cross", seeded(nn.MultiheadAttention(8, 2, kdim=4, vdim=6)),
         (3, 2, 8), (5, 2, 4), (5, 2, 6)),
    case("multi_head_attention_native", multi_head, *[(2, 3, 8)] * 3),
    case("multi_head_attention_native_self", lambda x: multi_head(x, x, x, average=False),
         (2, 3, 8)),
    case("multi_head_attention_native_padding", lambda x: multi_head(
        x, x, x, LEFT_OUT, mask_type=1, need_weights=False), (2, 3, 8)),
    case("transformer_encoder_layer", LAYER, (2, 3, 8)),
    case("transformer_encoder_layer_fused", fast_path, (2, 3, 8), dynamic=True),
    case("transformer_encoder_layer_fused_norm_first", lambda x: fast_path(
        x, torch.ones(3, 3).triu(1).bool(), 0, False, True), (2, 3, 8)),
]  # fmt: skip
