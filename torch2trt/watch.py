"""Notices that the weights of a module have changed, cheaply enough to ask at every call."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as _nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import register_optimizer_step_post_hook

from .hidden import hidden

_training, _version = itemgetter("training"), attrgetter("_version")
_data_ptr = torch.Tensor.data_ptr
_stride, _in_order = torch.Tensor.stride, torch.Tensor.is_contiguous
_watches: weakref.WeakSet[Watch] = weakref.WeakSet()
_lock = threading.Lock()  # of them: a set that grows cannot be listed


class Watch:
    """The state of a module's parameters, buffers, tensor attributes and submodules at one moment.

    A change of values is seen in a tensor's version, and in the address and the life of its memory;
    another order of the same memory in tensors of two or more dimensions; a replaced tensor or
    submodule, a hook of a submodule or a switched ``training`` flag as another object. Not seen:
    values written through ``tensor.data``, by a replayed CUDA graph or other code that does not
    count versions, another shape of the same memory in order, and plain Python attributes. Steps of
    an optimiser are seen, though fused ones count no versions.

    Attributes:
        hidden: modules and tensors that are used and no part of the module; they are watched too.
    """

    def __init__(self, module: nn.Module):
        self.hidden = hidden(module)
        others = [value for _, value in self.hidden if isinstance(value, nn.Module)]
        modules = list(dict.fromkeys(m for owner in (module, *others) for m in owner.modules()))
        self._states = [m.__dict__ for m in modules if "training" in m.__dict__]
        self._flags = list(map(_training, self._states))
        self._scripts = [m for m in modules if "training" not in m.__dict__]
        self._modes = list(map(_mode, self._scripts))
        groups = [g for m in modules for g in (m._parameters, m._buffers, m._modules)]
        groups += [g for m in modules[1:] for g in (m._forward_hooks, m._forward_pre_hooks)]
        groups += [_nn._global_forward_hooks, _nn._global_forward_pre_hooks]
        self._empty = [group for group in groups if not group]
        end = [object()]  # without it, what was appended to the last group would not be seen
        self._groups = [*(group.values() for group in groups if group), end]
        self._members = list(chain.from_iterable(self._groups))
        self._attributes = [
            (state, name, value)
            for state in self._states
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        ]
        values = [*self._attributes, *((None, *found) for found in self.hidden)]
        found = chain(self._members, (value for _, _, value in values))
        self._tensors = [x for x in found if isinstance(x, torch.Tensor) and not is_lazy(x)]
        self._counted = [tensor for tensor in self._tensors if not tensor.is_inference()]
        self._versions = list(map(_version, self._counted))
        self._addresses = list(map(_data_ptr, self._tensors))
        arranged = [t for t in self._tensors if t.layout == torch.strided and t.dim() > 1]
        self._ordered = list(filter(_in_order, arranged))
        self._others = [t for t in arranged if not t.is_contiguous()]
        self._strides = list(map(_stride, self._others))
        self._freed: list[Any] = []
        self._memory = _tell_when_freed(self._tensors, self._freed)
        self._stepped: list[Any] = []
        with _lock:
            _watches.add(self)

    def same_structure(self) -> bool:
        """Whether the very same tensors and submodules are there, in the same mode."""
        return (
            not any(self._empty)
            and all(map(is_, chain.from_iterable(self._groups), self._members))
            and list(map(_training, self._states)) == self._flags
            and list(map(_mode, self._scripts)) == self._modes
            and (not self._attributes or self._same_attributes())
        )

    def _same_attributes(self) -> bool:
        return all([owner.get(name) is value for owner, name, value in self._attributes])

    def same_values(self) -> bool:
        """Whether no value was written since, as far as versions and memory tell."""
        return (
            not self._freed
            and not self._stepped
            and list(map(_version, self._counted)) == self._versions
            and list(map(_data_ptr, self._tensors)) == self._addresses
            and all(map(_in_order, self._ordered))
            and list(map(_stride, self._others)) == self._strides
        )

    def note_step(self, addresses: set[int]) -> None:
        """An optimiser may have written to what is at `addresses`."""
        if not addresses.isdisjoint(self._addresses):
            self._stepped.append(None)

    def unchanged(self) -> bool:
        """Whether structure and values are the same."""
        return self.same_values() and self.same_structure()


def _mode(script: nn.Module) -> bool | None:
    return getattr(script, "training", None)  # a frozen script has none


def _after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    with _lock:
        watches = list(_watches)
    if watches:
        addresses = set()
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            with suppress(RuntimeError):  # it has no memory
                addresses.add(parameter.data_ptr())
        for watch in watches:
            watch.note_step(addresses)


register_optimizer_step_post_hook(_after_step)


def _tell_when_freed(tensors: Iterable[torch.Tensor], freed: list[Any]) -> list[Any]:
    """Fill `freed` as soon as the memory of a tensor is, for its address may then be another's.

    The references returned must be kept; they keep no memory.
    """
    return [weakref.ref(tensor.untyped_storage(), freed.append) for tensor in tensors]
