"""Recurrent networks: LSTM, GRU and plain RNN layers, unrolled over time, and their cells.

The input weights meet all time steps in one matrix product; a step is then one product with the
state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..registry import op
from .common import shape
from .elementwise import add, mul, relu, sigmoid, sub, tanh
from .linear import linear, matmul
from .shape import cat, chunk, narrow_to, t, transpose, unsqueeze


@dataclass(frozen=True)
class _Weights:
    """The parameters of one direction of one layer; None where there is none."""

    input: Any
    hidden: Any
    input_bias: Any = None
    hidden_bias: Any = None
    projection: Any = None


@dataclass(frozen=True)
class _Hidden:
    """A product with the state: one constant for all steps; a known first state is folded."""

    weight: Any
    constant: Any

    def __call__(self, ctx: Any, state: Any) -> Any:
        return matmul(ctx, state, self.constant if ctx.is_tensor(state) else self.weight)


def _hidden(ctx: Any, weight: Any) -> _Hidden:
    weight = t(ctx, weight)
    return _Hidden(weight, ctx.operand(weight, "hidden"))


# ---- steps: (ctx, input part, state, parameters) -> new state, a tuple with h first --------------
def _lstm_step(ctx, x, state, hidden, weights, project):
    h, c = state
    gate_in, gate_forget, candidate, gate_out = chunk(ctx, add(ctx, x, hidden(ctx, h)), 4, -1)
    kept = mul(ctx, sigmoid(ctx, gate_forget), c)
    c = add(ctx, kept, mul(ctx, sigmoid(ctx, gate_in), tanh(ctx, candidate)))
    h = mul(ctx, sigmoid(ctx, gate_out), tanh(ctx, c))
    return (h if project is None else project(ctx, h)), c


def _gru_step(ctx, x, state, hidden, weights, project):
    h = state[0]
    from_state = hidden(ctx, h)
    if weights.hidden_bias is not None:
        from_state = add(ctx, from_state, weights.hidden_bias)
    x_reset, x_update, x_new = chunk(ctx, x, 3, -1)
    h_reset, h_update, h_new = chunk(ctx, from_state, 3, -1)
    reset = sigmoid(ctx, add(ctx, x_reset, h_reset))
    update = sigmoid(ctx, add(ctx, x_update, h_update))
    new = tanh(ctx, add(ctx, x_new, mul(ctx, reset, h_new)))
    return (add(ctx, new, mul(ctx, update, sub(ctx, h, new))),)


def _tanh_step(ctx, x, state, hidden, weights, project):
    return (tanh(ctx, add(ctx, x, hidden(ctx, state[0]))),)


def _relu_step(ctx, x, state, hidden, weights, project):
    return (relu(ctx, add(ctx, x, hidden(ctx, state[0]))),)


def _input_part(ctx, x, weights, step):
    """What the input adds to the gates; the bias of the state joins it where it is only a sum."""
    bias = weights.input_bias
    if step is not _gru_step and weights.hidden_bias is not None:
        bias = add(ctx, bias, weights.hidden_bias)
    return linear(ctx, x, weights.input, bias)


# ---- layers --------------------------------------------------------------------------------------
def _run_direction(ctx, x, state, weights, step, reverse):
    """One direction of one layer over [time, N, size]: all h in time order, and the last state."""
    gates = _input_part(ctx, x, weights, step)
    length, *rest = shape(ctx, gates)
    hidden = _hidden(ctx, weights.hidden)
    project = None if weights.projection is None else _hidden(ctx, weights.projection)
    outputs = []
    for time in reversed(range(length)) if reverse else range(length):
        now = ctx.reshape(narrow_to(ctx, gates, 0, time, 1), rest)
        state = step(ctx, now, state, hidden, weights, project)
        outputs.append(unsqueeze(ctx, state[0], 0))
    return cat(ctx, outputs[::-1] if reverse else outputs, 0), state


def _run_layer(ctx, x, states, weights, step, first):
    """One layer: all h of its directions side by side, and their last states; `weights` are those
    of each direction, and their initial states begin at `first`."""
    outputs, ends = [], []
    for reverse, own in enumerate(weights):
        state = tuple(_select(ctx, s, first + reverse) for s in states)
        output, end = _run_direction(ctx, x, state, own, step, bool(reverse))
        outputs.append(output)
        ends.append(end)
    return cat(ctx, outputs, -1), ends


def _layers(params: list[Any], has_biases: bool, count: int) -> Iterator[_Weights]:
    """The flat list of parameters, cut into `count` groups."""
    size = len(params) // count
    for start in range(0, len(params), size):
        group = params[start : start + size]
        biases = group[2:4] if has_biases else [None, None]
        projection = group[-1] if size == (5 if has_biases else 3) else None
        yield _Weights(group[0], group[1], *biases, projection)


def _recurrent(
    ctx, step, x, states, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
):
    """All layers; `states` are the initial ones, each [layers * directions, N, size]."""
    if dropout and train and num_layers > 1:
        raise ctx.refuse(
            "dropout between recurrent layers in training mode is random; call module.eval() first"
        )
    if not ctx.is_tensor(x):
        x = ctx.operand(x, "input")
    x = transpose(ctx, x, 0, 1) if batch_first else x
    if not isinstance(shape(ctx, x)[0], int):
        raise ctx.refuse("a recurrent layer over a dynamic number of time steps")
    directions = 2 if bidirectional else 1
    weights = list(_layers(params, has_biases, num_layers * directions))
    last = []
    for first in range(0, num_layers * directions, directions):
        own = weights[first : first + directions]
        x, ends = _run_layer(ctx, x, states, own, step, first)
        last += ends
    final = [cat(ctx, [unsqueeze(ctx, s, 0) for s in parts], 0) for parts in zip(*last)]
    return transpose(ctx, x, 0, 1) if batch_first else x, *final


def _select(ctx, state, at):
    if not ctx.is_tensor(state):
        return state[at]
    return ctx.reshape(narrow_to(ctx, state, 0, at, 1), list(shape(ctx, state))[1:])


@op("aten::lstm.input")
def lstm(ctx, x, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    """lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers,
    float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor, Tensor)"""
    options = has_biases, num_layers, dropout, train, bidirectional, batch_first
    return _recurrent(ctx, _lstm_step, x, hx, params, *options)


def recurrent(name: str, step: Callable[..., Any]) -> None:
    """A table row: a layer with one state, and what is refused of it."""

    @op(f"aten::{name}.input")
    def layer(
        ctx, x, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
    ):
        """gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers,
        float dropout, ...)"""
        options = has_biases, num_layers, dropout, train, bidirectional, batch_first
        return _recurrent(ctx, step, x, [hx], params, *options)


recurrent("gru", _gru_step)
recurrent("rnn_tanh", _tanh_step)
recurrent("rnn_relu", _relu_step)


@op("aten::lstm.data", "aten::gru.data", "aten::rnn_tanh.data", "aten::rnn_relu.data")
def packed(ctx, *_):
    """lstm.data(Tensor data, Tensor batch_sizes, Tensor[] hx, Tensor[] params, ...)
    -> (Tensor, Tensor, Tensor)"""
    raise ctx.refuse("a recurrent layer over packed sequences; pass padded ones")


# ---- cells ---------------------------------------------------------------------------------------
def _cell(ctx, x, state, weights, step):
    from_input = _input_part(ctx, x, weights, step)
    return step(ctx, from_input, state, _hidden(ctx, weights.hidden), weights, None)


@op("aten::lstm_cell")
def lstm_cell(ctx, x, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None,
    Tensor? b_hh=None) -> (Tensor, Tensor)"""
    return _cell(ctx, x, tuple(hx), _Weights(w_ih, w_hh, b_ih, b_hh), _lstm_step)


def cell(name: str, step: Callable[..., Any]) -> None:
    """A table row: a cell with one state."""

    @op(f"aten::{name}")
    def emit(ctx, x, hx, w_ih, w_hh, b_ih=None, b_hh=None):
        """gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None,
        Tensor? b_hh=None)"""
        return _cell(ctx, x, (hx,), _Weights(w_ih, w_hh, b_ih, b_hh), step)[0]


cell("gru_cell", _gru_step)
cell("rnn_tanh_cell", _tanh_step)
cell("rnn_relu_cell", _relu_step)
