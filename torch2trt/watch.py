"""Notices that the weights of a module have changed, cheaply enough to ask at every call."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from torch import nn

_training = itemgetter("training")
_data_ptr = torch.Tensor.data_ptr


class Watch:
    """The state of a module's parameters, buffers, tensor attributes and submodules at one moment.

    A change of values is seen in a tensor's version and address; a replaced tensor or submodule, or
    a switched ``training`` flag, as another object. Not seen: values written through
    ``tensor.data``, by a replayed CUDA graph or other code that does not count versions, and plain
    Python attributes.
    """

    def __init__(self, module: nn.Module):
        modules = list(module.modules())
        self._states = [m.__dict__ for m in modules]
        self._flags = list(map(_training, self._states))
        self._groups = [
            group
            for m in modules
            for group in (m._parameters, m._buffers, m._modules)
            if group
        ]
        self._members = list(self._current_members())  # held, so that no other gets their ids
        self._ids = list(map(id, self._members))
        self._attributes = [
            (state, name, value)
            for state in self._states
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        ]
        found = chain(self._members, (value for _, _, value in self._attributes))
        self._tensors = [t for t in found if isinstance(t, torch.Tensor) and not t.is_inference()]
        self._versions = self._current_versions()
        self._addresses = list(map(_data_ptr, self._tensors))

    def _current_members(self) -> Iterator[Any]:
        return chain.from_iterable(map(dict.values, self._groups))

    def _current_versions(self) -> list[int]:
        return [tensor._version for tensor in self._tensors]

    def same_structure(self) -> bool:
        """Whether the very same tensors and submodules are there, in the same mode."""
        return (
            list(map(id, self._current_members())) == self._ids
            and list(map(_training, self._states)) == self._flags
            and all([owner.get(name) is value for owner, name, value in self._attributes])
        )

    def same_values(self) -> bool:
        """Whether no value was written since, as far as versions and addresses tell."""
        return (
            self._current_versions() == self._versions
            and list(map(_data_ptr, self._tensors)) == self._addresses
        )

    def unchanged(self) -> bool:
        """Whether structure and values are the same."""
        return self.same_values() and self.same_structure()
