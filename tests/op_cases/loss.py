"""Cases of torch2trt/handlers/loss.py."""

import torch
import torch.nn.functional as F
from case import case

from op_cases.data import UNIT

CLASSES = torch.tensor([1, 4, 0])
IGNORED = torch.tensor([1, -100, 0])
SIGNS = torch.tensor([1, -1, 1])
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.1, 1.5])
REDUCTIONS = ("none", "mean", "sum")

CASES = [
    *[case(f"{name}_{r}", lambda x, y, f=getattr(F, name), r=r: f(x, y, reduction=r), (3, 5),
           (3, 5))
      for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") for r in REDUCTIONS],
    case("smooth_l1_beta", lambda x, y: F.smooth_l1_loss(x, y, beta=0.3), (3, 5), (3, 5)),
    case("huber_delta", lambda x, y: F.huber_loss(x, y, delta=0.3), (3, 5), (3, 5)),
    case("binary_cross_entropy", lambda x, y: torch.ops.aten.binary_cross_entropy(x, y, WEIGHT),
         UNIT, UNIT.flip(0)),
    case("binary_cross_entropy_sure", lambda x, y: F.binary_cross_entropy(x, y, reduction="none"),
         torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.0, 0.0, 1.0])),
    case("binary_cross_entropy_with_logits",
         lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=WEIGHT, reduction="none"),
         (3, 5), UNIT),
    case("kl_div", lambda x, y: F.kl_div(x.log_softmax(1), y, reduction="batchmean"), (3, 5), UNIT),
    case("kl_div_log_target", lambda x, y: F.kl_div(x, y, reduction="sum", log_target=True), (3, 5),
         (3, 5)),
    *[case(f"nll_loss_{r}", lambda x, r=r: F.nll_loss(x, IGNORED, WEIGHT.to(x.dtype), reduction=r),
         (3, 5)) for r in REDUCTIONS],
    case("nll_loss2d", lambda x, t: F.nll_loss(x, t), (2, 3, 4, 4),
         torch.arange(32).reshape(2, 4, 4) % 3),
    case("nll_loss_line", lambda x: F.nll_loss(x, torch.tensor(2)), (5,)),
    *[case(f"cross_entropy_{r}", lambda x, t, r=r: F.cross_entropy(x, t, reduction=r), (3, 5),
           CLASSES)
      for r in REDUCTIONS],
    *[case(f"cross_entropy_smooth_{r}",
           lambda x, t, r=r: F.cross_entropy(x, t, WEIGHT.to(x.dtype), reduction=r,
                                             label_smoothing=0.2), (3, 5), IGNORED)
      for r in REDUCTIONS],
    case("cross_entropy_probabilities",
         lambda x, t: F.cross_entropy(x, t, WEIGHT, label_smoothing=0.1), (3, 5), UNIT),
    case("cross_entropy_images", F.cross_entropy, (2, 3, 4, 4),
         torch.arange(32).reshape(2, 4, 4) % 3),
    case("hinge_embedding_loss", lambda x: F.hinge_embedding_loss(x, SIGNS), (3,)),
    case("margin_ranking_loss", lambda x, y: F.margin_ranking_loss(x, y, SIGNS, 0.3), (3,), (3,)),
    case("soft_margin_loss", lambda x: F.soft_margin_loss(x, SIGNS), (3,)),
    case("cosine_embedding_loss", lambda x, y: F.cosine_embedding_loss(x, y, SIGNS, 0.1), (3, 5),
         (3, 5)),
    case("triplet_margin_loss", lambda a, p, n: F.triplet_margin_loss(a, p, n, swap=True), (3, 5),
         (3, 5), (3, 5)),
    case("multi_margin_loss",
         lambda x, t: F.multi_margin_loss(x, t, p=2, weight=WEIGHT.to(x.dtype)), (3, 5), CLASSES),
    case("multilabel_margin_loss",
         lambda x: F.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]])), (1, 4)),
    case("multilabel_soft_margin_loss", lambda x, y: F.multilabel_soft_margin_loss(x, y), (3, 5),
         UNIT),
    case("poisson_nll_loss", lambda x, y: F.poisson_nll_loss(x, y * 3, full=True), (3, 5), UNIT),
    case("gaussian_nll_loss", lambda x, y, v: F.gaussian_nll_loss(x, y, v), (3, 5), (3, 5), UNIT),
    case("ctc_loss",
         lambda x: F.ctc_loss(x.log_softmax(2), torch.tensor([[1, 2]]), torch.tensor([4]),
                              torch.tensor([2])),
         (4, 1, 3),
         refused={"tensorrt": "ctc", "tvm": "ctc"}),
]  # fmt: skip
