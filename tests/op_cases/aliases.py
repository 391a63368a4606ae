"""Operators that only the graphs of other front ends hold, and second names."""

import torch
from case import case

from op_cases.data import BOOLS, COUNTS, INTS, POSITIVE, UNIT

A = torch.ops.aten
NO_DOUBLES = {"tensorrt": "float64"}
SPARSE = {"tensorrt": "not dense", "tvm": "not dense"}
RANDOM = {"tensorrt": "random", "tvm": "random"}
UNKNOWN = {"tensorrt": "no exact decomposition", "tvm": "no exact decomposition"}

CASES = [
    *[case(f"alias_{name}", getattr(torch, name), UNIT) for name in (
        "negative", "arcsin", "arccos", "arctan", "arcsinh", "arctanh", "absolute", "sgn", "fix",
        "positive")],
    case("alias_arccosh", torch.arccosh, POSITIVE + 1),
    *[case(f"alias_{name}", getattr(torch, name), (3, 5), POSITIVE) for name in (
        "multiply", "not_equal", "less", "less_equal", "greater", "greater_equal", "subtract",
        "divide", "true_divide",
        "arctan2")],
    *[case(f"alias_special_{name}", getattr(torch.special, name), UNIT * 0.9) for name in (
        "erf", "expit", "exp2", "logit", "erfc", "sinc")],
    case("alias_special_products",
         lambda x, y: (torch.special.xlogy(x, y), torch.special.xlog1py(x, y)), UNIT,
         POSITIVE),
    case("float_power", lambda x: torch.float_power(x, 2), POSITIVE, refused=NO_DOUBLES,
         oracle="same"),
    case("clip", lambda x: (torch.clip(x, -1, 1), torch.clamp_max(x, 0.5), torch.clamp_min(x, 0.5)),
         (3, 5)),
    case("type_as", lambda x, y: (x.type_as(y), A._to_copy(x, dtype=torch.int64)), (3, 5), INTS),
    case("number_not", lambda x: A.bitwise_left_shift(x, 2) + A.bitwise_right_shift(x, 1), INTS),
    case("shape_aliases", lambda x: (
        A._unsafe_view(x, [6, 4]), A.view_copy(x, [4, 6]), A._reshape_copy(x, [-1]),
        x.reshape_as(x), x.view_as(x)),
        (2, 3, 4)),
    case("copy_aliases", lambda x: (
        A.squeeze_copy(x), A.unsqueeze_copy(x, 0), A.permute_copy(x, [1, 0]),
        A.expand_copy(x, [3, 2, 5]),
        A.slice_copy(x, 1, 1, 3), A.select_copy(x, 0, 1), A.diagonal_copy(x), A.alias_copy(x),
        A.detach_copy(x)), (2, 5)),
    case("axes_aliases", lambda x: (
        x.swapaxes(0, 1), x.swapdims(0, 2), x.mT, x.movedim(0, -1), x.moveaxis([0, 1], [1, 2]),
        x.adjoint()), (2, 3, 4)),
    case("join_aliases",
         lambda x: (torch.concat([x, x]), torch.concatenate([x, x], 1), torch.row_stack([x, x])),
         (2, 3)),
    case("split_aliases", lambda x: (
        *A.split_copy(x, 2, 1), *A.unsafe_split_with_sizes(x, [1, 4], 1),
        *A.split_with_sizes_copy(x, [2, 3], 1),
        *x.split(2, 1)), (2, 5)),
    case("tile_broadcast",
         lambda x: (x.tile(2), torch.broadcast_to(x, (2, 2, 3)), A.constant_pad_nd(x, [1, 1])),
         (2, 3)),
    case("pads_by_name", lambda x: (
        A.reflection_pad1d(x, [1, 2]), A.replication_pad2d(x, [1, 0, 2, 1]),
        A._pad_circular(x, [1, 1])), (2, 3, 4)),
    case("products", lambda x, y: (
        A.mm(x, y), A.mv(x, y[:, 0]), A.dot(x[0], y[:, 0]), torch.inner(x, y.t()),
        A.addmv(y[0, :1], x, y[:, 1]),
        torch.outer(x[0], y[0]), torch.ger(x[0], y[0]), torch.chain_matmul(x, y, x)), (2, 3),
        (3, 2)),
    case("matrix_power", lambda x: torch.linalg.matrix_power(x, 3), (3, 3)),
    case("extremes", lambda x: (x.amin(0), x.argmin(1), x.argmin(), A._aminmax(x)[0]), (3, 5)),
    case("special_logsumexp", lambda x: torch.special.logsumexp(x, 1), (3, 5)),
    case("empties",
         lambda x: (x + x.new_empty_strided((2, 3), (3, 1)).fill_(1)
                    + torch.empty(x.size(0), 3).fill_(2)),
         (2, 3)),
    case("tensors_of_sizes", lambda x: torch.tensor([x.size(0), 2]) + x.size(1), (2, 3)),
    case("unsafe_index", lambda x: (A._unsafe_index(x, [torch.tensor([1, 0])]), A._unsafe_index_put(
        x, [torch.tensor([1])], torch.zeros(1, 3))), (2, 3), oracle="same"),
    case("diagflat", lambda x: (torch.diagflat(x, 1), torch.linalg.diagonal(x)), (2, 2)),
    case("linalg_vander", lambda x: torch.linalg.vander(x, N=3), (4,)),
    case("isreal", lambda x: torch.isreal(x), BOOLS),
    case("ldexp", lambda x: torch.ldexp(x, torch.tensor([1, 2, 3, 0, -1])), (3, 5)),
    case("nll_forward", lambda x: A.nll_loss_forward(x, torch.tensor([1, 4, 0]), None, 1, -100),
         (3, 5)),
    case("norm_forms", lambda x, y: (
        A.norm.Scalar(x, 2), A.norm.ScalarOpt_dim(x, 1, [0]), A._cdist_forward(x, y, 2.0, None),
        A._pdist_forward(x,
        2.0)),
        (4, 3), (2, 3)),
    case("trapz", lambda y: (torch.trapz(y, dx=0.5), torch.trapz(y, torch.tensor([0.0, 1.0, 4.0]))),
         (2, 3)),
    case("native_dropout_eval", lambda x: A.native_dropout(x, 0.5, False), (2, 3)),
    case("to_sparse", lambda x: x.to_sparse().to_dense(), (2, 3), refused=SPARSE),
    *[case(f"unavailable_{name}", getattr(torch, name), POSITIVE, refused=UNKNOWN) for name in (
        "digamma", "lgamma", "erfinv")],
    case("gcd", torch.gcd, COUNTS, INTS, refused=UNKNOWN),
    case("randn_like", lambda x: torch.randn_like(x) * 0 + x, (2, 3), refused=RANDOM),
]  # fmt: skip
