"""Modules that run PyTorch in ``train()`` and a compiled program in ``eval()``."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import isclose
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from .bounds import cut_short
from .context import torch_network
from .core import GraphModule
from .dense import check_dense, check_memory, depends_on_memory
from .errors import ConversionError, InputMismatchError, Torch2TrtError
from .fixed import fixed_key, same_value
from .hooks import call_with_hooks, everywhere, everywhere_before
from .program import Input
from .ranges import examples, extremes
from .state import state_kept
from .trace import describe_arguments
from .watch import Watch

log = logging.getLogger("torch2trt.module")
_MAX_PLANS = 1000  # kinds of inputs that are known to need no closer look
# of a program on sizes that it does not take
_FAILURES = (RuntimeError, ValueError, IndexError, AssertionError)
_is_tracing = torch._C._is_tracing
_kind = attrgetter("shape", "dtype", "device")
_converted: ContextVar[Any] = ContextVar("converted", default=None)  # the module being traced


@dataclass
class Variant:
    """A compiled program for inputs of one structure, with what is needed to call it.

    Attributes:
        program: has ``run`` and ``update``.
        graph: the traced graph.
        casts: outputs that the program gives in another type than PyTorch, and that type.
        current: whether it has the present weights; else 'values' or 'structure' says what changed.
    """

    program: Any
    graph: GraphModule
    casts: tuple[tuple[int, torch.dtype], ...] = ()
    current: str = "current"

    def call(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Run on the tensors among the inputs; the outputs as the module gives them."""
        return self.pack(self.program.run(*tensors))

    def prepare(self, tensors: Sequence[torch.Tensor]) -> Callable[..., Sequence[torch.Tensor]]:
        """The program's ``run`` for tensors like these, of the same shapes, dtypes and devices."""
        prepare = getattr(self.program, "prepare", None)
        return self.program.run if prepare is None else prepare(tensors)

    def pack(self, outputs: Sequence[torch.Tensor]) -> Any:
        """Give the tensors among the outputs their types and the structure of the outputs."""
        if self.casts:
            outputs = list(outputs)
            for index, dtype in self.casts:
                outputs[index] = outputs[index].to(dtype)
        trace = self.graph.trace
        if len(outputs) != len(self.graph.graph.outputs):  # net_post_fn changed them
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        return trace.unflatten_outputs(outputs)


@dataclass
class _State:
    """What a module has compiled. Not part of the module: not copied, saved or moved with it."""

    lock: Any = field(default_factory=threading.RLock)
    watch: Watch | None = None
    variants: dict[Any, Variant] = field(default_factory=dict)
    plans: dict[Any, tuple[Any, Any]] = field(default_factory=dict)
    fixed_batch: set[Any] = field(default_factory=set)
    latest: Variant | None = None


@contextmanager
def _without_autocast() -> Iterator[None]:
    """A compiled program is in the types that it was asked for, wherever it is called first."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


class CompiledModule(nn.Module, ABC):
    """The switch: ``train()`` runs ``forward`` in PyTorch, ``eval()`` a compiled program of it.

    The program is made at the first call in eval mode and follows the weights: each call notices
    changed weights and brings the program up to date before its result is returned. It runs without
    gradients, and in the types of the module and of `dtype`: ``torch.autocast`` around a call in
    eval mode changes nothing. Not noticed are values written through ``tensor.data`` or by a
    replayed CUDA graph, and plain Python attributes: call ``refit()`` or ``reset()`` after such a
    change.

    Forward hooks of the module itself are called at each call. Those of its submodules are traced:
    what they compute with tensors is part of the program, and they are called when it is made.

    Whatever goes wrong, the module works on: in train mode, or in eval mode with other inputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_compiled"] = _State()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_compiled"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__["_compiled"] = _State()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if own["training"] or _is_tracing():
            if _converted.get() is self:
                return self._slow_forward(*args, **kwargs)
            return super().__call__(*args, **kwargs)
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or everywhere or everywhere_before:
            return call_with_hooks(self, self._call_slowly, args, kwargs)
        state = own["_compiled"]
        try:
            plan = None if kwargs else state.plans.get(tuple(map(_kind, args)))
        except (AttributeError, RuntimeError):  # not all are tensors that have a shape
            plan = None
        if plan is not None:
            watch, (run, pack) = state.watch, plan
            try:
                outputs = run(*args)
            except RuntimeError:
                check_dense(args)
                raise
            # asked only now, while the program runs; a result of old weights is thrown away
            if watch is not None and watch.unchanged() and state.watch is watch:
                return outputs[0] if pack is None else pack(outputs)
        return self._call_slowly(*args, **kwargs)

    @property
    def program_name(self) -> str:
        """What messages call the program."""
        return type(self).__name__

    def in_pytorch(self, *args: Any, **kwargs: Any) -> Any:
        """What PyTorch gives, in either mode.

        Args:
            *args, **kwargs: inputs, as ``forward`` takes them.
        """
        return self.forward(*args, **kwargs)

    def refit(self) -> None:
        """Use the present weights from the next call on, whether a change was noticed or not."""
        with self._compiled.lock:
            self._mark("values")

    def reset(self) -> None:
        """Forget all that was compiled."""
        with self._compiled.lock:
            self._mark("values")
            self._compiled.variants.clear()
            self._compiled.latest = None
            self._compiled.fixed_batch.clear()

    def latest_variant(self) -> Variant:
        """The program of the latest new kind of input, with the present weights.

        Raises:
            Torch2TrtError: the module has not run in eval mode.
        """
        state = self._compiled
        if state.latest is None:
            raise Torch2TrtError("nothing is compiled yet: call the module in eval mode first")
        if state.latest.current != "current" or not state.watch.unchanged():
            raise Torch2TrtError("the weights have changed: call the module in eval mode first")
        return state.latest

    def _mark(self, what: str) -> None:
        state = self._compiled
        state.watch = None
        state.plans.clear()
        for variant in state.variants.values():
            if variant.current != "structure":
                variant.current = what

    def _call_slowly(self, *args: Any, **kwargs: Any) -> Any:
        state = self._compiled
        leaves, tree = pytree.tree_flatten((args, kwargs))
        tensors = list(filter(_is_tensor, leaves))
        if not tensors:
            got = describe_arguments(args, kwargs)
            raise InputMismatchError(f"inputs: got no tensor, expected at least one, in {got}")
        check_dense(tensors)
        self._require_backend(tensors)
        with state.lock:
            self._notice_changes(state)
            variant = self._variant(state, args, kwargs, leaves, tree, tensors)
            careful = depends_on_memory(variant.graph.graph)
            if careful:
                check_memory(variant.graph.graph, tensors)
            outputs = variant.program.run(*tensors)
            result = variant.pack(outputs)
            state.latest = variant
            if not (careful or kwargs) and all(map(_is_tensor, args)):
                plain = len(outputs) == 1 and result is outputs[0]
                if len(state.plans) >= _MAX_PLANS:
                    state.plans.clear()
                plan = variant.prepare(tensors), None if plain else variant.pack
                state.plans[tuple(map(_kind, args))] = plan
            return result

    def _notice_changes(self, state: _State) -> None:
        if state.watch is None or not state.watch.unchanged():
            known = state.watch is not None and state.watch.same_structure()
            self._mark("values" if known or state.watch is None else "structure")
            state.watch = Watch(self)

    def _variant(
        self, state: _State, args: Any, kwargs: Any, leaves: Any, tree: Any, tensors: Any
    ) -> Variant:
        others = tuple(fixed_key(x, i) for i, x in enumerate(leaves) if not _is_tensor(x))
        device = tensors[0].device
        inputs = self._inputs(tensors, fixed=False)
        key = (str(tree), others, device, tuple((i.dims, i.dtype) for i in inputs))
        if key in state.fixed_batch:
            inputs = self._inputs(tensors, fixed=True)
            key = (*key, tuple(i.shape for i in inputs))
        variant = state.variants.get(key)
        if variant is None:
            try:
                variant = self._compile(args, kwargs, inputs, device)
            except (ConversionError, InputMismatchError) as error:
                if key in state.fixed_batch or not any(i.ranges for i in inputs):
                    raise
                variant = self._compile(args, kwargs, self._inputs(tensors, fixed=True), device)
                log.warning("one program per input size, not one for a range of sizes: %s", error)
                state.fixed_batch.add(key)
                key = (*key, tuple(i.shape for i in inputs))
            state.variants[key] = variant
        elif variant.current != "current":
            self._update(variant, args, kwargs)
        return variant

    @_without_autocast()
    def _compile(self, args: Any, kwargs: Any, inputs: Sequence[Input], device: Any) -> Variant:
        graph = self._trace(args, kwargs, inputs)
        if graph.trace.from_data:
            log.warning(
                "%s: Python numbers and branches are those that these inputs give, for inputs of"
                " other values too: %s", self.program_name, "; ".join(graph.trace.from_data),
            )  # fmt: skip
        if graph.trace.counters:
            log.warning(
                "%s: calls in PyTorch change %s, compiled ones do not", self.program_name,
                ", ".join(graph.trace.counters),
            )  # fmt: skip
        variant = Variant(self._program(graph, inputs, device), graph)
        self._finish(variant, args, kwargs)
        return variant

    @_without_autocast()
    def _update(self, variant: Variant, args: Any, kwargs: Any) -> None:
        constants = [v for _, v in self._compiled.watch.hidden if _is_tensor(v)]
        if variant.current == "structure" or variant.graph.frozen or constants:
            variant.graph = self._trace(args, kwargs, variant.program.inputs)
        variant.program.update(variant.graph)
        variant.current = "current"

    @torch.no_grad()
    def _eager(self, args: Any, kwargs: Any) -> Any:
        """What PyTorch gives; the program may write to its inputs, and to its modules."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
        with state_kept({"": self}):
            return self.forward(*args, **kwargs)

    @_without_autocast()
    def _trace(self, args: Any, kwargs: Any, inputs: Sequence[Input]) -> GraphModule:
        """Trace at a batch of 2 where the batch is dynamic, because a dimension of 1 broadcasts.

        Raises:
            ConversionError: sizes that should be dynamic are constants of the program.
        """
        (args, kwargs), *others = examples(args, kwargs, inputs)
        token = _converted.set(self)
        try:
            graph = GraphModule(self, args, example_kwargs=kwargs)
        finally:
            _converted.reset(token)
        graph.example = None  # compared here, at sizes inside the ranges
        if any(i.ranges for i in inputs):
            for other in others:
                if not _gives(graph, *other, self._at_other_sizes(*other)):
                    frozen = "; ".join(map(str, graph.frozen)) or "a loop or an index over a size"
                    raise ConversionError(f"the program computes with sizes in Python: {frozen}")
            for tensors in extremes(args, kwargs, inputs):
                _check_slices(graph, tensors)
        return graph

    def _at_other_sizes(self, args: Any, kwargs: Any) -> Any:
        try:
            return self._eager(args, kwargs)
        except _FAILURES as error:
            sizes = [tuple(x.shape) for x in pytree.tree_leaves((args, kwargs)) if _is_tensor(x)]
            raise ConversionError(
                f"{self.program_name} fails in PyTorch on inputs of the shapes {sizes}, which lie"
                f" in the ranges of sizes: {type(error).__name__}: {error}"
            ) from error

    # --- what the backends fill in ---------------------------------------------------------------

    @abstractmethod
    def _require_backend(self, tensors: Sequence[torch.Tensor]) -> None:
        """Refuse, with the reason, where the backend is missing or cannot run."""

    @abstractmethod
    def _inputs(self, tensors: Sequence[torch.Tensor], fixed: bool) -> list[Input]:
        """The inputs of the program, with their dynamic dimensions unless `fixed`."""

    @abstractmethod
    def _program(self, graph: GraphModule, inputs: Sequence[Input], device: Any) -> Any:
        """Compile a graph for a device."""

    @abstractmethod
    def _finish(self, variant: Variant, args: Any, kwargs: Any) -> None:
        """What is left to do when a program was compiled: checks and casts."""


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


def _check_slices(graph: GraphModule, tensors: Sequence[torch.Tensor]) -> None:
    try:
        short = cut_short(graph.graph, tensors, graph.trace.attribute)
    except (Torch2TrtError, *_FAILURES) as error:
        short = f"the program fails on them: {error}"
    if short:
        raise ConversionError(f"some inputs are not like those of the trace: {short}")


@torch.no_grad()
def _gives(graph: GraphModule, args: Any, kwargs: Any, expected: Any) -> bool:
    """Whether the traced graph, run by PyTorch, gives what the program itself gives."""
    try:
        with torch_network():
            found = graph(*args, **kwargs)
    except (Torch2TrtError, *_FAILURES):
        return False
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected))
    return all(
        a.shape == b.shape and _close(a.double(), b.double())
        if _is_tensor(a) and _is_tensor(b)
        else same_value(a, b) or (type(a) is type(b) is float and isclose(a, b, rel_tol=1e-6))
        for a, b in pairs
    )


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    finite = a.isfinite() & b.isfinite()
    same = a.isfinite().equal(b.isfinite())
    return same and bool((a - b)[finite].norm() <= 1e-2 * b[finite].norm())
