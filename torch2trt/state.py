"""What running a program changes in its modules: undone after a trace, refused where it matters."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .errors import UnsupportedOpError

_GROUPS = ("_parameters", "_buffers", "_modules")
_CONTAINERS = {list, dict, set, deque, OrderedDict, defaultdict, Counter}
_MISSING = object()
_NUMBERS = (bool, int, float, complex, str)
_TOLERANCE = 1e-3  # of the difference between two runs, which on a GPU add up in another order


class State:
    """Attributes, buffers, lists and dicts of modules and all that is in them at one moment."""

    def __init__(self, modules: Mapping[str, nn.Module]):
        named = (root.named_modules(prefix=name) for name, root in modules.items())
        parts = {module: path for path, module in chain.from_iterable(named)}
        self._dicts = [(path, m.__dict__, dict(m.__dict__)) for m, path in parts.items()]
        containers: dict[int, tuple[str, Any, Any]] = {}
        for path, state, _ in self._dicts:
            for name, value in state.items():
                _add_containers(containers, path if name in _GROUPS else f"{path}.{name}", value)
        self._containers = list(containers.values())
        buffers = {b: None for root in modules.values() for b in root.buffers()}
        held = (b for b in buffers if not (is_lazy(b) or b.is_meta))
        self._buffers = [(b, b.detach().clone()) for b in held]

    def changes(self) -> dict[str, Any]:
        """What is another object than before, by path; values of buffers do not count."""
        found = {
            f"{path}.{name}": state.get(name)
            for path, state, before in self._dicts
            for name in {**before, **state}
            if not _is_same(state.get(name), before.get(name))
        }
        for path, now, before in self._containers:
            if _holds_the_same(now, before):
                continue
            if isinstance(now, dict):
                changed = [k for k in {**before, **now} if now.get(k) is not before.get(k)]
                found.update((f"{path}.{name}", now.get(name)) for name in changed)
            else:
                found[path] = now
        return {name.removeprefix("module."): value for name, value in found.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Make everything what it was. What is as it was is not touched: others may be using it."""
        for _, state, before in self._dicts:
            for name in [name for name in state if name not in before]:
                del state[name]
            was = {n: v for n, v in before.items() if state.get(n, _MISSING) is not v}
            state.update(was)
        for _, now, before in self._containers:
            if not _holds_the_same(now, before):
                now.clear()
                (now.extend if isinstance(now, (list, deque)) else now.update)(before)
        for buffer, before in self._buffers:
            if not _has_the_same_values(buffer, before):
                buffer.copy_(before)


def _add_containers(found: dict[int, tuple[str, Any, Any]], path: str, value: Any) -> None:
    """Note a list, dict or the like with a copy of it, and those in it."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) in _CONTAINERS and id(value) not in found:
            found[id(value)] = path, value, value.copy()
            inner = value.values() if isinstance(value, dict) else value
            if not _CONTAINERS.isdisjoint(map(type, inner)):
                waiting.extend(inner)


def _holds_the_same(now: Any, before: Any) -> bool:
    if isinstance(now, set):  # a copy may be in another order
        return now == before
    if len(now) != len(before) or not all(map(is_, now, before)):
        return False
    return not isinstance(now, dict) or all(map(is_, now.values(), before.values()))


def _has_the_same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    if torch.equal(one, other):
        return True
    has_nan = one.is_floating_point() and one.dtype.itemsize > 1 and bool(one.isnan().any())
    return has_nan and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) in _NUMBERS and one == other)


@contextlib.contextmanager
def state_kept(modules: Mapping[str, nn.Module]) -> Iterator[State]:
    """Undo what runs of a program change in its modules, given by name."""
    state = State(modules)
    try:
        yield state
    finally:
        state.restore()


def check_repeats(
    modules: Mapping[str, nn.Module],
    run: Callable[[], Sequence[Any]],
    name: str,
    changed: Sequence[str],
) -> list[str]:
    """Refuse a program whose second run differs from its first: it keeps state between calls.

    Args:
        modules: of the program, by name.
        run: runs the program on the example inputs and gives the leaves of its result.
        name: of the program, for the message.
        changed: the attributes that a run changes.

    Returns:
        The numbers among them that are others after the second run: counters.

    Raises:
        UnsupportedOpError: with the attributes.
    """
    with state_kept(modules) as state, torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = _seeded(run)
        counted = state.changes()
        try:
            differs = not _agree(first, _seeded(run))
        except Exception:  # whatever it is, the second run is not like the first
            differs = True
        now = state.changes()
    if differs:
        raise UnsupportedOpError(
            f"{name} keeps state between calls, and a compiled program cannot; pass the state in"
            " and return it:",
            [f"{n} is changed by forward, the next call gives other outputs" for n in changed],
        )
    counted = {n: v for n, v in counted.items() if n in changed and isinstance(v, _NUMBERS)}
    return [n for n, value in counted.items() if not _is_same(now.get(n), value)]


def _seeded(run: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    torch.manual_seed(0)
    return run()


def _agree(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(_leaves_agree, one, other))


def _leaves_agree(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and (not isinstance(one, _NUMBERS) or one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * 1e-3, equal_nan=True)
