"""A traced program compiled for one backend, with weights that can be exchanged."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .backends import trt_api
from .build import GRAPH_STREAMS, BuildOptions, build_engine
from .cache import cache_key
from .container import EngineFileError
from .context import use_context
from .core import GraphModule
from .definition import definition_digest, tensor_bytes
from .digest import in_threads, sha256
from .engine import Engine, describe, names_in, network_specs
from .errors import EngineBuildError
from .inference import TorchInferenceContext
from .precision import lower_precision
from .recall import program_key
from .settings import Settings

log = logging.getLogger("torch2trt.module")


@dataclass(frozen=True)
class Input:
    """An input of a program.

    Attributes:
        name: its name in the network.
        shape: the traced shape.
        dtype: its type.
        profiles: per optimization profile the (min, opt, max) of its dynamic dimensions.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    profiles: tuple[Mapping[int, tuple[int, int, int]], ...] = ()

    @property
    def ranges(self) -> dict[int, tuple[int, int, int]]:
        """The (min, opt, max) of each dynamic dimension, over all profiles."""
        found: dict[int, tuple[int, int, int]] = {}
        for axis, (low, best, high) in (item for p in self.profiles for item in p.items()):
            before = found.get(axis, (low, best, high))
            found[axis] = (min(low, before[0]), before[1], max(high, before[2]))
        return found

    @property
    def dims(self) -> tuple[int | None, ...]:
        """The shape, None where dynamic."""
        ranges = self.ranges
        return tuple(None if i in ranges else n for i, n in enumerate(self.shape))

    def shapes(self, profile: int) -> tuple[tuple[int, ...], ...]:
        """The smallest, the best and the largest shape of an optimization profile."""
        given = self.profiles[profile]
        return tuple(
            tuple(given[i][which] if i in given else n for i, n in enumerate(self.shape))
            for which in range(3)
        )


@dataclass
class Definition:
    """A network definition with all that it needs to stay alive.

    Attributes:
        digest: equal for definitions that differ in weights only.
        hashes: a digest of each weight by name.
        sources: the source line of each layer name.
    """

    builder: Any
    network: Any
    context: Any
    digest: str
    hashes: dict[str, str]
    sources: dict[str, str]

    def release(self) -> None:
        """Let go of the network and of the host memory of its weights."""
        self.network = self.context = self.builder = None


def define(graph: GraphModule, inputs: Sequence[Input], settings: Settings) -> Definition:
    """Emit a graph into a new TensorRT network.

    Raises:
        ConversionError: the graph cannot be expressed.
    """
    from .backends.tensorrt import TensorRTContext

    literals = hashlib.sha256()

    class Recorder(TensorRTContext):
        """Notes the constants that are not weights; holds each weight in host memory once."""

        def weights(self, tensor: torch.Tensor, role: str) -> Any:
            return super().weights(tensor.detach().cpu().contiguous(), role)

        def literal(self, value: torch.Tensor, shape: Sequence[int] | None = None) -> Any:
            literals.update(f"{self.scope} {value.dtype} {tuple(value.shape)}\n".encode())
            literals.update(tensor_bytes(value))
            return super().literal(value, shape)

    graph = copy.copy(graph)  # a run leaves its network in the graph module
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    ctx = Recorder(network)
    with use_context(ctx):
        tensors = [ctx.input(i.name, i.dims, i.dtype) for i in inputs]
        outputs = [ctx.operand(y, "output") for y in graph.run(tensors, ctx, settings.verbose)]
        if settings.net_post_fn is not None:
            changed = settings.net_post_fn(network, outputs)
            outputs = list(outputs if changed is None else changed)
        names = [f"output{i}" for i in range(len(outputs))]
        ctx.finish(outputs, names)
    hashes = _hashes(ctx.weight_dict)
    digest = definition_digest(network, literals.digest())
    sources = {node.scope: node.source for node in graph.graph.nodes if node.source}
    return Definition(builder, network, ctx, digest, hashes, sources)


def _hashes(weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
    digests = in_threads(lambda weight: sha256(tensor_bytes(weight)), weights.values())
    return {name: digest.hex() for name, digest in zip(weights, digests)}


def _text_of(hashes: Mapping[str, str]) -> str:
    return repr(sorted(hashes.items()))


def _stored(weight: torch.Tensor) -> torch.Tensor:
    """A weight in the type in which the network holds it, see ``TensorRTContext.plain_weights``."""
    if weight.dtype == torch.bfloat16:
        return weight.float()
    if weight.dtype == torch.uint8:
        return weight.to(torch.int32)
    if weight.dtype == torch.int64:
        return weight.to(trt_api.torch_dtype(trt_api.trt_dtype(torch.int64)))
    return weight


def lowered(graph: GraphModule, settings: Settings) -> GraphModule:
    """The graph module with its graph in the precision that the settings ask for."""
    if settings.dtype == torch.float32 and not settings.precision:
        return graph
    lower = copy.copy(graph)
    attribute = graph.trace.attribute
    lower.graph = lower_precision(
        graph.graph, settings.dtype, attribute, settings.precision, settings.exact
    )
    return lower


class TensorRTProgram:
    """A TensorRT engine for a traced program, and how to keep it up to date.

    Attributes:
        engine: the engine.
        run: calls it on the tensors among the inputs; gives the tensors among the outputs.
        prepare: gives a faster `run` for tensors that are like those given.
    """

    def __init__(self, inputs: Sequence[Input], settings: Settings, device: int) -> None:
        self.inputs = tuple(inputs)
        self.settings = settings
        self.device = device

    def compile(self, graph: GraphModule) -> TensorRTProgram:
        """Build and load the engine."""
        refit = bool(self.settings.refit)
        program = self._program_key(graph, refit)
        if program is None or not self._recall(program):
            definition = self.define(graph)
            as_stored = self._build(graph, definition, refit)
            if program is not None and as_stored:
                note = {"hashes": _text_of(self.hashes)}
                self.settings.cache.remember(program, self._key(definition, refit), note)
        return self

    def define(self, graph: GraphModule) -> Definition:
        """The network definition with the weights as they are now."""
        return define(lowered(graph, self.settings), self.inputs, self.settings)

    def _program_key(self, graph: GraphModule, refit: bool) -> str | None:
        """What the cache can know a program by before its network is defined; None if nothing."""
        if not self._cached() or self.settings.verbose:
            return None
        graph = lowered(graph, self.settings)
        parts = self._place(), repr(self.inputs), self.options(refit).key()
        return program_key(graph.graph, graph.trace.attribute, *parts)

    def _recall(self, program: str) -> bool:
        """Start the engine that the cache has for a program with these weights."""
        note, (description, plan) = self.settings.cache.recall(program) or ({}, ({}, None))
        extra = description.get("extra", {})
        if plan is None or note.get("hashes") != _text_of(extra["hashes"]):
            return False
        try:
            self.start(description, plan, None)
        except EngineFileError:  # the long way says so, and builds again
            return False
        self.digest, self.hashes = extra["digest"], extra["hashes"]
        return True

    def update(self, graph: GraphModule) -> None:
        """Use the weights as they are now: exchange them where possible, else build again."""
        definition = self.define(graph)
        if definition.digest == self.digest:
            changed = {n for n, h in definition.hashes.items() if self.hashes.get(n) != h}
            if not changed or self._refit(definition, changed):
                self.hashes = definition.hashes
                return
        self._build(graph, definition, self.settings.refit is not False)

    def _refit(self, definition: Definition, changed: set[str]) -> bool:
        if not self.engine.refittable:
            return False
        known = set(self.engine.weight_names())
        if not changed <= known:
            return False
        held = definition.context.weight_dict
        weights = {n: _stored(w) for n, w in held.items() if n in known}
        try:
            self.engine.refit(weights)
        except EngineBuildError as error:
            log.warning("the engine could not take new weights and is built again: %s", error)
            return False
        return True

    def options(self, refit: bool) -> BuildOptions:
        """How the engine is built."""
        settings = self.settings
        dynamic = [i for i in self.inputs if i.ranges]
        count = len(dynamic[0].profiles) if dynamic else 0
        cache = settings.cache
        return BuildOptions(
            workspace=settings.workspace,
            tf32=settings.tf32,
            refit=refit,
            optimization_level=settings.optimization_level,
            aux_streams=GRAPH_STREAMS if settings.cuda_graph else None,
            profiles=[{i.name: i.shapes(p) for i in dynamic} for p in range(count)],
            timing_cache=cache.timing_cache(self._place()) if cache is not None else None,
        )

    def _place(self) -> str:
        gpu = torch.cuda.get_device_name(self.device) if trt_api.can_run() else "no GPU"
        return f"{trt_api.version()} {gpu}"

    def plan(self, definition: Definition, refit: bool) -> tuple[Mapping[str, Any], Any]:
        """Description and plan of an engine, from the cache where it has it."""
        key = self._key(definition, refit)
        if key is None:
            return self._fresh_plan(definition, refit)
        return self.settings.cache.load_or_build(key, lambda: self._fresh_plan(definition, refit))

    def _key(self, definition: Definition, refit: bool) -> str | None:
        """The key of the engine in the cache; None where it is not cached."""
        if not self._cached():
            return None
        weights = "refit" if refit else _text_of(definition.hashes)
        return cache_key(self._place(), definition.digest, weights, self.options(refit).key())

    def _cached(self) -> bool:
        settings = self.settings
        changed = settings.builder_config_fn or settings.net_post_fn
        return settings.cache is not None and not changed

    def _fresh_plan(self, definition: Definition, refit: bool) -> tuple[Mapping[str, Any], Any]:
        options, settings = self.options(refit), self.settings
        plan = build_engine(
            definition.builder,
            definition.network,
            options,
            settings.builder_config_fn,
            settings.progress,
        )
        specs = network_specs(definition.network, options)
        extra = {
            "hashes": definition.hashes,
            "digest": definition.digest,
            "sources": definition.sources,
        }
        return describe(specs, self.device if trt_api.can_run() else None, extra), plan

    def _build(
        self, graph: GraphModule, definition: Definition, refit: bool, again: bool = True
    ) -> bool:
        """Load the engine from the cache or build it; whether it came with the present weights."""
        description, plan = self.plan(definition, refit)
        stored = description["extra"]["hashes"]
        changed = {n for n, h in definition.hashes.items() if stored.get(n) != h}
        if not changed:
            definition.release()
        try:
            self.start(description, plan, definition)
        except EngineFileError as error:
            key = self._key(definition, refit)
            if key is None or not again:
                raise
            log.warning("the cached engine is not used and will be built again: %s", error)
            self.settings.cache.discard(key)
            return self._build(graph, self.define(graph), refit, again=False)
        if changed and not self._refit(definition, changed):
            self.start(*self._fresh_plan(definition, refit), definition)
        self.digest, self.hashes = definition.digest, definition.hashes
        return not changed

    def start(
        self, description: Mapping[str, Any], plan: Any, definition: Definition | None
    ) -> None:
        """Load the engine."""
        names = names_in(description)
        self.engine = Engine.from_plan(plan, self.device, description["extra"], names)
        context = TorchInferenceContext(self.engine, cuda_graph=self.settings.cuda_graph)
        self.run, self.prepare = context.run, context.prepare
