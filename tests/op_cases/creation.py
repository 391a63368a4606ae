"""Cases of torch2trt/handlers/creation.py."""

import torch
from case import case

from op_cases.data import COUNTS

RANDOM = {"tensorrt": "random", "tvm": "random"}

CASES = [
    case("zeros_like", lambda x: torch.zeros_like(x) + x, (2, 3), dynamic=True),
    case("ones_like_dtype", lambda x: torch.ones_like(x, dtype=torch.int64) + 1, (2, 3),
         dynamic=True),
    case("full_like", lambda x: torch.full_like(x, 2.5) * x, (2, 3)),
    case("new_zeros", lambda x: x.new_zeros(2, 3) + x, (2, 3)),
    case("new_ones", lambda x: x.new_ones(x.size(0), 1) + x, (2, 3), dynamic=True),
    case("new_full", lambda x: x.new_full((3,), 7) + x, (2, 3)),
    case("empty_like", lambda x: torch.empty_like(x).fill_(1) + x, (2, 3)),
    case("full_dynamic", lambda x: torch.full((x.size(0), 2), 3.0), (2, 3), dynamic=True),
    case("full_of_a_computed_number", lambda x: (torch.full((x.size(0), 2), x.size(0) * 1.0),
                                                 torch.full((x.size(0), 2), x.size(0) * 2)),
         (2, 3), dynamic=True),
    case("arange_of_size", lambda x: torch.arange(x.size(0)) + x[:, 0].long(), (4, 3),
         dynamic=True),
    case("arange_steps", lambda x: torch.arange(1, x.size(0) * 3, 2), (4, 3), dynamic=True),
    case("arange_float", lambda x: torch.arange(0, 1, 0.25) + x, (2, 4)),
    case("linspace", lambda x: torch.linspace(-1, 1, 5) + x, (2, 5)),
    case("eye_of_size", lambda x: torch.eye(x.size(0)) + x, (3, 3)),
    case("tensor", lambda x: torch.tensor([1.5, 2.0]) + x, (3, 2)),
    case("scalar_tensor_of_doubles", lambda x: (torch.scalar_tensor(0.1, dtype=torch.float64), x),
         (2,), refused={"tensorrt": "no constants of torch.float64"}),
    case("one_hot", lambda x: torch.nn.functional.one_hot(x, 5), COUNTS),
    case("one_hot_without_classes", lambda x: torch.nn.functional.one_hot(x), COUNTS,
         refused={"tensorrt": "depends on the data", "tvm": "depends on the data"}),
    case("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), (3,), (2,)),
    case("meshgrid_xy", lambda x, y: torch.meshgrid(x, y, indexing="xy"), (3,), (2,)),
    case("windows", lambda x: x * torch.hann_window(5) + torch.hamming_window(5), (2, 5)),
    case("triangle_indices", lambda x: x[torch.tril_indices(3, 3)[0], torch.tril_indices(3, 3)[1]],
         (3, 3)),
    case("rand_like", lambda x: torch.rand_like(x) * 0 + x, (2, 3), refused=RANDOM),
    case("bernoulli", lambda x: torch.bernoulli(x), torch.ones(2, 3), refused=RANDOM),
    case("multinomial", lambda x: torch.multinomial(x, 1), torch.tensor([[0.0, 1.0]]),
         refused=RANDOM),
    case("new_empty", lambda x: x.new_empty(2, 3).fill_(2) + x, (2, 3)),
    case("linspace_computed", lambda x, y: torch.linspace(x, y, 5), (), ()),
    case("logspace_computed", lambda x: torch.logspace(x, 1.0, 4), ()),
]  # fmt: skip
