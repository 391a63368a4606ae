"""Inputs that several case files share."""

import torch

INTS = torch.tensor([[7, -7, 5, -5, 0], [2, 3, -3, 1, 9]])
COUNTS = torch.tensor([[0, 3, 1, 2, 2], [4, 0, 1, 3, 1]])
SPECIAL = torch.tensor([0.0, -0.0, 1.5, 2.5, -1.5, -2.5, float("inf"), float("-inf"), 0.3])
WITH_NAN = torch.tensor([[1.0, float("nan"), -2.0, 3.0, 0.5],
                         [float("inf"), 2.0, float("-inf"), -1.0, 4.0]])
BOOLS = torch.tensor([[True, False, True, False, True], [False, False, True, True, True]])
POSITIVE = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) + 0.1
UNIT = POSITIVE / 1.2
CASES = []
