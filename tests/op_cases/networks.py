"""Cases of convolution, pooling, linear, reduction and shape operators."""

import torch
import torch.nn.functional as F
from case import case
from torch import nn


def seeded(module: nn.Module) -> nn.Module:
    """A module in eval mode with seeded weights and batch norm statistics that matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5 if "var" in name
                            else torch.randn(value.shape, generator=generator) * 0.3)
    return module.eval()


CASES = [
    case("conv2d", seeded(nn.Conv2d(3, 5, 3, stride=2, padding=1)), (2, 3, 9, 11), dynamic=True),
    case("conv2d_grouped", seeded(nn.Conv2d(4, 6, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2)), (1, 4, 8, 7)),
    case("conv2d_depthwise", seeded(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)), (1, 4, 8, 7)),
    case("conv2d_same", seeded(nn.Conv2d(3, 4, 4, padding="same", dilation=2)), (1, 3, 9, 8)),
    case("conv2d_unbatched", seeded(nn.Conv2d(3, 4, 3)), (3, 7, 7)),
    case("conv1d", seeded(nn.Conv1d(3, 4, 3, stride=2, padding=1)), (2, 3, 9)),
    case("conv3d", seeded(nn.Conv3d(2, 3, 3, padding=1)), (1, 2, 4, 5, 6)),
    case("conv2d_weight_computed", lambda x, w: F.conv2d(x, w * 2), (1, 3, 6, 6), (4, 3, 3, 3)),
    case("conv2d_integers", lambda x, w: F.conv2d(x, w, stride=2, padding=1, groups=2, dilation=(1, 2)),
         torch.arange(72).reshape(1, 4, 3, 6) * 3**18, torch.arange(-12, 12).reshape(6, 2, 2, 1)),
    case("conv_transpose1d_integers", lambda x, w: F.conv_transpose1d(x, w, w[0, :, 0], 2, 1, 1, dilation=2),
         torch.arange(10).reshape(1, 2, 5) * 3**18, torch.arange(-9, 9).reshape(2, 3, 3)),
    case("conv_transpose2d", seeded(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2)), (1, 4, 5, 6)),
    case("conv_transpose2d_dilated", seeded(nn.ConvTranspose2d(3, 2, 3, 2, 1, dilation=2)), (1, 3, 5, 6)),
    case("conv_transpose1d", seeded(nn.ConvTranspose1d(3, 2, 4, 2, 1)), (1, 3, 6)),
    case("batch_norm", seeded(nn.BatchNorm2d(4)), (2, 4, 3, 5)),
    case("batch_norm_1d", seeded(nn.BatchNorm1d(4)), (3, 4)),
    case("conv_bn_relu", seeded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))), (1, 3, 9, 9)),
    case("linear", seeded(nn.Linear(6, 5)), (3, 6), dynamic=True),
    case("linear_3d", seeded(nn.Linear(6, 5, bias=False)), (2, 3, 6)),
    case("addmm", lambda x, a, b: torch.addmm(x, a, b, beta=0.5, alpha=2), (2, 4), (2, 3), (3, 4)),
    case("matmul_batched", torch.matmul, (2, 1, 3, 4), (5, 4, 2)),
    case("matmul_vector", lambda x, y: (x @ y, y @ x.T, y @ y), (3, 4), (4,)),
    case("max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1), (1, 2, 8, 9)),
    case("max_pool2d_ceil", lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), (1, 2, 8, 8)),
    case("max_pool2d_dilated", lambda x: F.max_pool2d(x, 3, 1, 1, dilation=2), (1, 2, 8, 8)),
    case("max_pool1d", lambda x: F.max_pool1d(x, 2), (1, 2, 8)),
    case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1), (1, 2, 8, 9)),
    case("avg_pool2d_exclude", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (1, 2, 8, 9)),
    case("avg_pool2d_ceil", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), (1, 2, 8, 8)),
    case("avg_pool2d_divisor", lambda x: F.avg_pool2d(x, 2, divisor_override=3), (1, 2, 8, 8)),
    case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 1), (2, 3, 5, 7)),
    case("adaptive_avg_pool2d_even", lambda x: F.adaptive_avg_pool2d(x, (2, 4)), (2, 3, 6, 8)),
    case("adaptive_avg_pool2d_odd", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), (1, 2, 7, 5)),
    case("sum_dim", lambda x: x.sum((1, -1), keepdim=True), (2, 3, 4)),
    case("sum_all", lambda x: x.sum(), (2, 3, 4)),
    case("sum_bool", lambda x: (x > 0).sum(1), (2, 5)),
    case("mean_dim", lambda x: x.mean((-2, -1)), (2, 3, 4)),
    case("prod", lambda x: x.prod(1), (2, 3)),
    case("max_with_index", lambda x: torch.max(x, 1), (3, 5)),
    case("min_with_index", lambda x: torch.min(x, 0, keepdim=True), (3, 5)),
    case("amax", lambda x: x.amax((0, 2)), (3, 5, 2)),
    case("argmax_all", lambda x: x.argmax(), (3, 5)),
    case("any_all", lambda x: ((x > 0).any(1), (x > -9).all()), (3, 5)),
    case("topk", lambda x: torch.topk(x, 3, dim=1), (2, 7)),
    case("topk_smallest", lambda x: torch.topk(x, 2, dim=0, largest=False), (7, 2)),
    case("var", lambda x: (x.var(1), x.std((0, 1), unbiased=False)), (3, 5)),
    case("view", lambda x: x.view(x.size(0), -1), (2, 3, 4), dynamic=True),
    case("reshape_minus_one", lambda x: x.reshape(-1, 4).t(), (2, 3, 4)),
    case("flatten", lambda x: (x.flatten(1), x.flatten()), (2, 3, 4)),
    case("squeeze_unsqueeze", lambda x: x.squeeze(1).unsqueeze(-1).squeeze(), (2, 1, 3)),
    case("permute", lambda x: x.permute(2, 0, 1), (2, 3, 4)),
    case("transpose", lambda x: x.transpose(0, -1), (2, 3, 4)),
    case("expand", lambda x: x.expand(4, -1, 3), (2, 1)),
    case("repeat", lambda x: x.repeat(2, 1, 3), (2, 3)),
    case("cat", lambda x, y: torch.cat([x, y, x], dim=-1), (2, 3), (2, 4)),
    case("cat_promotes", lambda x, y: torch.cat([x, y]), (3,), torch.tensor([1, 2])),
    case("stack", lambda x, y: torch.stack([x, y], 1), (2, 3), (2, 3)),
    case("slice", lambda x: x[:, 1:-1, ::2], (2, 5, 7)),
    case("select", lambda x: x[:, -1] + x[:, 0], (2, 5)),
    case("chunk", lambda x: torch.chunk(x, 3, dim=1), (2, 7)),
    case("split", lambda x: torch.split(x, [2, 5], dim=1), (2, 7)),
    case("unbind", lambda x: x.unbind(1), (2, 3)),
    case("flip", lambda x: x.flip(0, 2), (2, 3, 4)),
    case("roll", lambda x: torch.roll(x, (1, -2), (0, 1)), (3, 5)),
    case("pad_constant", lambda x: F.pad(x, (1, 2, 0, 1), value=3.0), (2, 3)),
    case("pad_negative", lambda x: F.pad(x, (-1, 2)), (2, 5)),
    case("pad_reflect", lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"), (1, 2, 4, 5)),
    case("pad_replicate", lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate"), (1, 2, 4, 5)),
    case("pad_circular", lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"), (1, 2, 4, 5)),
    case("embedding", seeded(nn.Embedding(7, 4)), torch.tensor([[0, 6], [3, 3]])),
    case("index_select", lambda x: x.index_select(1, torch.tensor([2, 0])), (2, 3, 4)),
    case("gather", lambda x, i: x.gather(1, i), (2, 3), torch.tensor([[2, 0], [1, 1]])),
    case("pad_replicate_cut", lambda x: F.pad(x, (-2, 3, 1, -1), mode="replicate"), (1, 2, 4, 3)),
    case("pad_reflect_cut", lambda x: F.pad(x, (2, -1), mode="reflect"), (1, 2, 4)),
    case("narrow_computed", lambda x, i: torch.narrow(x, 1, i, 2), (3, 5), torch.tensor(-3)),
    case("reduce_of_scalar", lambda x: (x.sum(0), x.amax(0), x.logsumexp(0), x.var(0, unbiased=False)), ()),
    case("softmax_line", lambda x: (x.softmax(0), x.log_softmax(0)), (5,)),
    case("reduce_of_nothing", lambda x: (x.sum(0), x.mean(0), x.prod(0), x.var(0)), (0, 3)),
    case("addmm_integers", lambda x, a: torch.addmm(x, a, a, beta=2.7, alpha=1.2), torch.ones(2, 2).long(),
         torch.tensor([[1, -2], [3, 4]])),
]  # fmt: skip
