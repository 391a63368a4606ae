"""Cases of torch2trt/handlers/matrix.py, einsum.py, norm.py and linear.py."""

import torch
from case import case

from op_cases.data import BOOLS, INTS

INF = float("inf")

CASES = [
    case("diagonal", lambda x: (x.diagonal(), x.diagonal(1), x.diagonal(-2)), (3, 4)),
    case("diagonal_inner", lambda x: torch.diagonal(x, -1, 0, 2), (4, 2, 5)),
    case("diag", lambda x, m: (torch.diag(x, 1), torch.diag(m, -1)), (3,), (3, 4)),
    case("diag_embed", lambda x: torch.diag_embed(x, -1, 0, 2), (2, 3)),
    case("trace", torch.trace, (3, 4)),
    case("tril", lambda x: x.tril(-1), (2, 4, 3), dynamic=True),
    case("triu_integers", lambda x: x.triu(1), INTS),
    case("triu_of_constant", lambda x: torch.ones(5, 5).triu(1) * x, (5,)),
    case("block_diag", lambda x, y: torch.block_diag(x, torch.ones(2), y), (2, 3), (3, 1)),
    case("kron", torch.kron, (2, 3), (4, 1, 2)),
    case("cartesian_prod", torch.cartesian_prod, (3,), (2,)),
    case("combinations", lambda x: torch.combinations(x, 2), (4,)),
    case("cross", lambda x, y: torch.cross(x, y, dim=1), (4, 3), (4, 3)),
    case("linalg_cross", lambda x, y: torch.linalg.cross(x, y), (4, 3), (1, 3)),
    case("einsum_attention", lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k), (2, 3, 4, 5), (2, 3, 6, 5)),
    case("einsum_ellipsis", lambda x, y: torch.einsum("...ij,jk", x, y), (2, 3, 4), (4, 5)),
    case("einsum_diagonal", lambda x: (torch.einsum("ii", x), torch.einsum("ii->i", x)), (3, 3)),
    case("einsum_three", lambda x, y, z: torch.einsum("ij,Jk,kl->il", x, y, z), (2, 3), (4, 5), (5, 6)),
    case("einsum_broadcast", lambda x, y: torch.einsum("bi,bi->b", x, y), (3, 4), (1, 4)),
    case("einsum_batch", lambda x, y: torch.einsum("bij,bjk->bik", x, y), (2, 3, 4), (2, 4, 5), dynamic=True),
    case("tensordot", lambda x, y: torch.tensordot(x, y, dims=([1, 0], [0, 1])), (3, 4, 2), (4, 3, 5)),
    case("bilinear", lambda x, y, w, b: torch.nn.functional.bilinear(x, y, w, b), (2, 3), (2, 4), (5, 3, 4), (5,)),
    case("baddbmm", lambda x, a, b: torch.baddbmm(x, a, b, beta=0.5, alpha=2), (3, 1, 5), (3, 2, 4), (3, 4, 5)),
    case("addmm_beta_zero", lambda x, a, b: torch.addmm(x, a, b, beta=0), (4,), (2, 3), (3, 4)),
    case("addbmm", lambda x, a, b: torch.addbmm(x, a, b, alpha=2), (2, 5), (3, 2, 4), (3, 4, 5)),
    case("addr", lambda x, a, b: torch.addr(x, a, b, beta=2), (2, 3), (2,), (3,)),
    case("multi_dot", lambda a, b, c: torch.linalg.multi_dot([a, b, c]), (2, 3), (3, 4), (4, 5)),
    case("norms", lambda x: (x.norm(), x.norm(1, dim=1), x.norm(3, dim=0, keepdim=True), x.norm(INF)), (3, 4)),
    case("norm_zero_and_minus_inf", lambda x: (x.norm(0, dim=1), torch.linalg.vector_norm(x, -INF)), (3, 4)),
    case("matrix_norms", lambda x: [torch.linalg.matrix_norm(x, p) for p in ("fro", 1, -1, INF, -INF)], (2, 3, 4)),
    case("linalg_norm", lambda x: (torch.linalg.norm(x), torch.linalg.norm(x, 1, (0, 2), True)), (2, 3, 4)),
    case("matrix_norm_nuclear", lambda x: torch.linalg.matrix_norm(x, "nuc"), (3, 4),
         refused={"tensorrt": "singular values", "tvm": "singular values"}),
    case("frobenius_norm", lambda x: torch.frobenius_norm(x, [1, 2]), (2, 3, 4)),
    case("renorm", lambda x: torch.renorm(x, 2, 0, 1.5), (3, 4)),
    case("dist", lambda x, y: torch.dist(x, y, 3), (3, 4), (3, 4)),
    case("dist_half", lambda x: torch.dist(x, -x, 4), (torch.arange(60.0) / 4).half()),
    case("cdist", lambda x, y: (torch.cdist(x, y), torch.cdist(x, y, p=1.0)), (2, 3, 4), (2, 5, 4)),
    case("pdist", lambda x: torch.pdist(x, 2.0), (5, 3)),
    case("trapezoid", lambda y: torch.trapezoid(y, dx=0.5, dim=0), (4, 3)),
    case("trapezoid_x", lambda y: torch.trapezoid(y, torch.tensor([0.0, 1.0, 3.0])), (4, 3)),
    case("diff", lambda x: torch.diff(x, n=2, dim=0), (5, 3)),
    case("diff_of_order_zero", lambda x: torch.diff(x, 0, append=x), (5, 3)),
    case("diff_bool", lambda x: torch.diff(x, append=x), BOOLS),
]  # fmt: skip
