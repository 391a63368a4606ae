"""Loops and conditionals."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .case import Case
from .data import rand


def cases() -> Iterator[Case]:
    yield from _loops()
    yield from _conditionals()


def _counted(net, count):
    loop = net.n.add_loop()
    loop.add_trip_limit(count, net.enum("TripLimit", "COUNT"))
    return loop


def _collect(net, loop, tensor, kind, length, axis=0):
    output = loop.add_loop_output(tensor, net.enum("LoopOutput", kind), axis)
    output.set_input(1, length)
    return output.get_output(0)


def _running_sum(net, x, count, reverse=False):
    """The sum of the rows so far, as state and as sequence."""
    loop = _counted(net, count)
    row = loop.add_iterator(x, 0, reverse).get_output(0)
    state = loop.add_recurrence(net.const(torch.zeros(4)))
    total = net.binary(state.get_output(0), "SUM", row)
    state.set_input(1, total)
    last = loop.add_loop_output(state.get_output(0), net.enum("LoopOutput", "LAST_VALUE"))
    return loop, total, last.get_output(0)


def _loops() -> Iterator[Case]:
    x = rand(3, 4)

    def sums(net, x):
        count = net.index(3)
        loop, total, last = _running_sum(net, x, count)
        collected = [_collect(net, loop, total, kind, count) for kind in ("CONCATENATE", "REVERSE")]
        return [last, *collected]

    yield Case("loop-outputs", sums, (x,), lambda x: (x.sum(0), x.cumsum(0), x.cumsum(0).flip(0)))

    def reverse(net, x):
        count = net.index(3)
        loop, total, last = _running_sum(net, x, count, True)
        return [last, _collect(net, loop, total, "CONCATENATE", count, 1)]

    yield Case(
        "loop-reverse_iterator", reverse, (x,), lambda x: (x.sum(0), x.flip(0).cumsum(0).t())
    )

    def doubling(net, x):
        """Doubles until the first element reaches 10, at most 50 times."""
        loop = _counted(net, net.index(50))
        state = loop.add_recurrence(x)
        value = state.get_output(0)
        first = net.n.add_slice(value, (0,), (1,), (1,)).get_output(0)
        scalar = net.n.add_shuffle(first)
        scalar.reshape_dims = ()
        go_on = net.binary(scalar.get_output(0), "LESS", net.const(10.0))
        loop.add_trip_limit(go_on, net.enum("TripLimit", "WHILE"))
        state.set_input(1, net.binary(value, "SUM", value))
        return loop.add_loop_output(value, net.enum("LoopOutput", "LAST_VALUE"))

    yield Case("loop-while", doubling, (torch.tensor([3.0, 1.0]),), torch.tensor([12.0, 4.0]))
    yield Case(
        "loop-no_iteration", doubling, (torch.tensor([30.0, 1.0]),), torch.tensor([30.0, 1.0])
    )

    def invariant(net, x, y):
        """What does not depend on the iteration may be computed outside."""
        loop = _counted(net, net.index(3))
        state = loop.add_recurrence(x)
        state.set_input(1, net.binary(state.get_output(0), "PROD", net.unary(y, "EXP")))
        return loop.add_loop_output(state.get_output(0), net.enum("LoopOutput", "LAST_VALUE"))

    yield Case(
        "loop-invariant",
        invariant,
        (rand(4), rand(4, seed=1)),
        lambda x, y: x * torch.exp(3 * y),
        rtol=1e-4,
    )

    def nested(net, x):
        """Adds the row to the state twice, for each row."""
        outer = _counted(net, net.index(3))
        row = outer.add_iterator(x).get_output(0)
        state = outer.add_recurrence(net.const(torch.zeros(4)))
        inner = _counted(net, net.index(2))
        partial = inner.add_recurrence(state.get_output(0))
        partial.set_input(1, net.binary(partial.get_output(0), "SUM", row))
        last = net.enum("LoopOutput", "LAST_VALUE")
        state.set_input(1, inner.add_loop_output(partial.get_output(0), last).get_output(0))
        return outer.add_loop_output(state.get_output(0), last)

    yield Case("loop-nested", nested, (x,), lambda x: 2 * x.sum(0))


def _conditionals() -> Iterator[Case]:
    def choose(net, condition, x):
        conditional = net.n.add_if_conditional()
        conditional.set_condition(condition)
        inside = conditional.add_input(x).get_output(0)
        return conditional.add_output(net.unary(inside, "EXP"), net.unary(inside, "NEG"))

    for flag, function in ((True, torch.exp), (False, torch.neg)):
        yield Case(
            f"conditional-{flag}",
            choose,
            (torch.tensor(flag), rand(2, 3)),
            lambda c, x, function=function: function(x),
        )
