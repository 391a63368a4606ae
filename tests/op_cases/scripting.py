"""Cases of torch2trt/handlers/structure.py, scripting.py and spectral.py."""

import torch
from case import case

COMPLEX = {"tensorrt": "complex", "tvm": "complex"}


@torch.jit.script
def sizes_as_numbers(x: torch.Tensor) -> torch.Tensor:
    rows = x.size(0)
    return x.reshape([rows * 2, -1]) + torch.arange(rows * 2).unsqueeze(1)


@torch.jit.script
def branches_on_sizes(x: torch.Tensor) -> torch.Tensor:
    if x.dim() == 2 and not x.size(1) <= 2:
        y = x + 1
        if len(x.shape) != 2 or x.numel() % 2 == 1:
            raise ValueError("unreachable")
        y[0] = 5.0
    else:
        y = x - 1
    return y * x


def spectrum(x):
    return torch.stft(x, 8, 2, 6, torch.hann_window(6, dtype=x.dtype), return_complex=False)


CASES = [
    case("shape_as_tensor", lambda x: torch._shape_as_tensor(x) + x.long()[0, 0], (2, 3),
         dynamic=True),
    case("size_arithmetic", lambda x: x.reshape(x.size(0) * 2, x.size(1) // 2), (2, 4),
         dynamic=True),
    case("size_as_tensor", lambda x: x / x.size(0) + torch.tensor(x.shape[1]), (2, 4)),
    case("scripted_sizes", sizes_as_numbers, (2, 4), dynamic=True),
    case("scripted_branches", lambda x: branches_on_sizes(x) * 2, (2, 4), dynamic=True),
    case("complex_refused", lambda x: torch.view_as_real(torch.fft.fft(x)), (2, 4),
         refused=COMPLEX),
    case("stft", spectrum, (2, 20)),
]  # fmt: skip
