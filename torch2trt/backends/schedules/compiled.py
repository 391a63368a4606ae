"""A compiled function with its packed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .packing import Recipe
from .report import Row, measure


class Compiled:
    """A function compiled for the CPU: its executable, its weights packed, and which rule served what.

    Args:
        executable: the virtual machine's executable.
        recipes: how the packed weights are made from the parameters.
        rules: the rule of every fused function.
        inputs: shape and dtype of every input.
    """

    def __init__(
        self,
        executable: Any,
        recipes: Sequence[Recipe],
        rules: dict[str, str],
        inputs: Sequence[tuple[tuple[int, ...], str]],
    ) -> None:
        import tvm

        self.executable = executable
        self.recipes = tuple(recipes)
        self.rules = dict(rules)
        self.inputs = tuple(inputs)
        self.vm = tvm.relax.VirtualMachine(executable, tvm.cpu())
        self._main = self.vm["main"]
        self._weights: tuple[Any, ...] = ()

    def prepare(self, params: Sequence[torch.Tensor]) -> list[Any]:
        """Pack `params` and use them from the next call on; also to be called when they have changed."""
        import tvm

        with torch.no_grad():
            made = [_owned(recipe.make(params), params) for recipe in self.recipes]
        weights = [tvm.runtime.from_dlpack(tensor.detach()) for tensor in made]
        self._weights = tuple(weights)
        return weights

    def __call__(self, *inputs: Any) -> Any:
        """Run with the packed weights, on as many threads as PyTorch uses; the outputs are memory of their own."""
        _follow_threads()
        return self._main(*inputs, *self._weights)

    def report(self, *inputs: Any, repeats: int = 3) -> list[Row]:
        """Which rule served each fused function and what share of the time it takes.

        Args:
            inputs: as for a call; zeros by default.
            repeats: the number of runs to take the time of.
        """
        import tvm

        given = inputs or self._zeros()
        vm = tvm.relax.VirtualMachine(self.executable, tvm.cpu())
        main = vm["main"]
        return measure(vm, lambda: main(*given, *self._weights), self.rules, repeats)

    def _zeros(self) -> list[Any]:
        return [torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in self.inputs]


_threads = 0  # what the thread pool of TVM, one for the process, was last set to


def _follow_threads() -> None:
    """Give TVM's thread pool the size of PyTorch's."""
    global _threads
    wanted = torch.get_num_threads()
    if wanted != _threads:
        import tvm

        big_cores = 1  # the mode that prefers the fast cores where cores differ
        tvm.get_global_func("runtime.config_threadpool")(big_cores, wanted)
        _threads = wanted


def _owned(tensor: torch.Tensor, params: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensor, aligned and in memory that nobody else writes."""
    storage = tensor.untyped_storage().data_ptr()
    shared = any(storage == p.untyped_storage().data_ptr() for p in params)
    return tensor.clone() if shared or tensor.data_ptr() % 64 else tensor
