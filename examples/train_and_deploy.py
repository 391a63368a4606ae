"""A module that trains in PyTorch and runs an engine in eval mode, with the weights following.

With a GPU that TensorRT runs on, a ``TensorRTModule``; without, the same with ``TVMModule`` on the
CPU.

    python examples/train_and_deploy.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import torch2trt
from torch2trt.backends import trt_api

GPU = torch.cuda.is_available() and trt_api.available() and trt_api.can_run()
DEVICE = "cuda" if GPU else "cpu"


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )


class TensorRTClassifier(torch2trt.TensorRTModule):
    """In eval mode this runs one engine for batches of 1 to 256."""

    def __init__(self) -> None:
        super().__init__(max_batchsize=256, workspace=1 << 28, optimization_level=0)
        self.layers = layers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class TVMClassifier(torch2trt.TVMModule):
    """In eval mode this runs a TVM program."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Scaled(nn.Module):
    """A part that stays in PyTorch around the part that is compiled."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(x * 2 - 1)


def rings(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of the unit square; the class is whether they lie in a ring."""
    points = torch.rand(count, 2, device=DEVICE)
    radius = (points * 2 - 1).norm(dim=1)
    return points, ((radius > 0.4) & (radius < 0.8)).long()


def main() -> None:
    torch.manual_seed(0)
    model = Scaled(TensorRTClassifier() if GPU else TVMClassifier()).to(DEVICE)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    held_out, answers = rings(256)
    first = last = 0.0
    for epoch in range(3):
        model.train()
        for _ in range(150):
            points, classes = rings(256)
            optimiser.zero_grad()
            F.cross_entropy(model(points), classes).backward()
            optimiser.step()
        model.eval()  # builds the engine at the first call, takes over the new weights later
        with torch.no_grad():
            scores = model(held_out)
            expected = model.classifier.layers(held_out * 2 - 1)
        error = (scores - expected).norm() / expected.norm()
        last = (scores.argmax(1) == answers).float().mean().item()
        first = first or last
        print(f"epoch {epoch}: accuracy {last:.3f}, difference to PyTorch {error:.1e}")
        if error > 1e-5:
            raise SystemExit("the compiled module differs from PyTorch")
    if last < first:
        raise SystemExit("accuracy fell while training")


if __name__ == "__main__":
    main()
