"""Cases of torch2trt/handlers/recurrent.py."""

import torch
from case import case
from torch import nn

from op_cases.networks import seeded


class GivenState(nn.Module):
    """An LSTM whose first state is an input."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5)

    def forward(self, x, h, c):
        return self.lstm(x, (h, c))


def cell(name, states):
    """A case of a cell operator with hidden size 3."""
    generator = torch.Generator().manual_seed(1)
    gates = {"lstm_cell": 4, "gru_cell": 3}.get(name, 1) * 3
    weights = [torch.randn(s, generator=generator)
               for s in ((gates, 5), (gates, 3), (gates,), (gates,))]

    def program(x, *hx):
        operator = getattr(torch.ops.aten, name)
        return operator(x, list(hx) if states == 2 else hx[0], *[w.to(x.dtype) for w in weights])

    return case(name, program, (2, 5), *[(2, 3)] * states)


CASES = [
    case("lstm", seeded(nn.LSTM(4, 5)), (3, 2, 4)),
    case("lstm_batch_first", seeded(nn.LSTM(4, 5, batch_first=True)), (2, 3, 4), dynamic=True),
    case("lstm_bidirectional_two_layers", seeded(nn.LSTM(4, 3, 2, bidirectional=True, dropout=0.5)),
         (4, 2, 4)),
    case("lstm_projection", seeded(nn.LSTM(4, 5, proj_size=2, bidirectional=True, bias=False)),
         (3, 2, 4)),
    case("lstm_given_state", seeded(GivenState()), (3, 2, 4), (1, 2, 5), (1, 2, 5)),
    case("lstm_unbatched", seeded(nn.LSTM(4, 5)), (3, 4)),
    case("gru", seeded(nn.GRU(4, 5, batch_first=True)), (2, 3, 4)),
    case("gru_bidirectional_two_layers", seeded(nn.GRU(4, 3, 2, bidirectional=True)), (3, 2, 4)),
    case("gru_no_bias", seeded(nn.GRU(4, 5, bias=False)), (3, 2, 4)),
    case("rnn_tanh", seeded(nn.RNN(4, 5, 2)), (3, 2, 4)),
    case("rnn_relu", seeded(nn.RNN(4, 5, nonlinearity="relu", bidirectional=True)), (3, 2, 4)),
    case("lstm_cell_module", seeded(nn.LSTMCell(4, 5)), (2, 4)),
    case("gru_cell_module", seeded(nn.GRUCell(4, 5)), (2, 4), (2, 5)),
    cell("lstm_cell", 2),
    cell("gru_cell", 1),
    cell("rnn_tanh_cell", 1),
    cell("rnn_relu_cell", 1),
]  # fmt: skip
