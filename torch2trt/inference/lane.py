"""What running on one CUDA stream needs: execution contexts, addresses, shapes, captured graphs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import torch

from ..backends import trt_api
from ..backends.driver import Detour, Executable, captured
from ..backends.tensors import CAPTURING, empty_strided
from ..engine import Engine, known_dims
from ..errors import Torch2TrtError
from .inputs import profile_of

log = logging.getLogger("torch2trt.inference")
ALIGNMENT = 256  # bytes, as TensorRT asks; tensors of torch have it, views into them need not
MAX_GRAPHS = 8

Shapes = tuple[tuple[int, ...], ...]


class Binding:
    """An execution context with the input shapes that are set in it, and what follows from them.

    Attributes:
        context: the ``tensorrt.IExecutionContext``.
        shapes: the input shapes.
        outputs: per output its name, shape and dtype; shape None where only running tells it.
        fresh: per output its name and the arguments of ``empty_strided`` that make it, or None.
        addresses: where TensorRT was told that each tensor lies.
        enqueue: puts the engine on a stream; false if it could not.
    """

    def __init__(self, engine: Engine, context: Any):
        self.engine = engine
        self.context = context
        self.shapes: Shapes | None = None
        self.outputs: list[tuple[str, tuple[int, ...] | None, torch.dtype]] = []
        self.fresh: list[tuple[str, Any]] = []
        self.allocators: dict[str, Any] = {}
        self.addresses: dict[str, int] = {}
        self.enqueue = context.execute_async_v3

    def set_shapes(self, shapes: Shapes) -> None:
        """Tell TensorRT the input shapes, and ask for those of the outputs."""
        self.shapes = None
        for spec, shape in zip(self.engine.inputs, shapes):
            if not self.context.set_input_shape(spec.name, tuple(shape)):
                raise Torch2TrtError(f"input {spec.name!r}: TensorRT refused shape {tuple(shape)}")
        trt_api.take_errors(self.context)
        found = [known_dims(self.context.get_tensor_shape(s.name)) for s in self.engine.outputs]
        self._check_sizes(shapes)
        self.outputs, self.fresh = [], []
        for spec, shape in zip(self.engine.outputs, found):
            if shape is not None and -1 in shape:
                shape = None
            self.outputs.append((spec.name, shape, spec.dtype))
            self.fresh.append(
                (spec.name, None if shape is None else (shape, _strides(shape), spec.dtype))
            )
            if shape is None and spec.name not in self.allocators:
                allocator = self.allocators[spec.name] = create_allocator(self.engine.torch_device)
                self.context.set_output_allocator(spec.name, allocator)
            if shape is None:
                self.allocators[spec.name].largest = self.context.get_max_output_size(spec.name)
        self.shapes = shapes

    def _check_sizes(self, shapes: Shapes) -> None:
        """Raise what TensorRT found as it inferred shapes; it runs the engine all the same."""
        reasons = trt_api.take_errors(self.context)
        if reasons:
            given = ", ".join(str(list(shape)) for shape in shapes)
            raise Torch2TrtError(f"inputs of the shapes {given}: {'; '.join(reasons)}")

    def set_address(self, name: str, address: int) -> None:
        """Tell TensorRT where a tensor lies; nothing to do if it lay there before."""
        if self.addresses.get(name) != address:
            if not self.context.set_tensor_address(name, address):
                raise Torch2TrtError(f"tensor {name!r}: TensorRT refused address {address:#x}")
            self.addresses[name] = address

    def launch(self, handle: int) -> None:
        """Enqueue on a stream."""
        if not self.enqueue(handle):
            self.fail()

    def fail(self) -> NoReturn:
        """Raise why it could not be enqueued."""
        reasons = "; ".join(trt_api.take_errors(self.context)) or "it gave no reason"
        raise Torch2TrtError(f"TensorRT could not launch the engine: {reasons}")

    def take_unknown(self, outputs: list[Any]) -> None:
        """Put the outputs whose shape running has told in their places."""
        for i, (name, shape, dtype) in enumerate(self.outputs):
            if shape is None:
                outputs[i] = self.allocators[name].take(dtype)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * max(size, 1))
    return tuple(strides[: len(shape)])


class Graph:
    """The engine as a CUDA graph for one set of input shapes, with an execution context of its own.

    The graph begins with copies of the inputs to its own buffers, and ends with copies of its own
    outputs. A call says where these copies read and write, and launches them all at once.
    """

    def __init__(self, engine: Engine, after: Any, shapes: Shapes):
        device = engine.torch_device
        self.generation = engine.generation
        stream = torch.cuda.Stream(device)
        bindings = Bindings(engine, stream.cuda_stream, stream.synchronize)
        self._binding = binding = bindings.select(shapes)
        if binding.allocators:
            raise Torch2TrtError("the shapes of its outputs depend on the values of its inputs")
        inputs = [
            torch.zeros(tuple(n), dtype=s.dtype, device=device)
            for s, n in zip(engine.inputs, shapes)
        ]
        outputs = [torch.zeros(n, dtype=d, device=device) for _, n, d in binding.outputs]
        if not all(x.numel() for x in (*inputs, *outputs)):
            raise Torch2TrtError("it has inputs or outputs without elements")
        self._own = (inputs, outputs)
        for spec, tensor in zip(engine.specs, (*inputs, *outputs)):
            binding.set_address(spec.name, tensor.data_ptr())
        stream.wait_stream(after)
        self._capture(stream)
        self._fresh = [arguments for _, arguments in binding.fresh]

    def _capture(self, stream: torch.cuda.Stream) -> None:
        inputs, outputs = self._own
        others = [torch.empty_like(x) for x in (*inputs, *outputs)]  # the caller's, for now
        handle = stream.cuda_stream
        self._binding.launch(handle)  # TensorRT prepares a new shape in its first launch
        stream.synchronize()
        pairs = [(a.data_ptr(), b.data_ptr(), a.nbytes) for a, b in zip(others, inputs)]
        later = others[len(inputs) :]
        results = [(a.data_ptr(), b.data_ptr(), a.nbytes) for a, b in zip(outputs, later)]
        with CAPTURING, captured(handle, lambda: self._binding.launch(handle)) as body:
            self._graph = Executable(body, pairs, results)

    def run(self, inputs: Sequence[torch.Tensor], handle: int, stream: Any) -> list[torch.Tensor]:
        """Enqueue on a stream, given as its handle and as torch's object; the outputs."""
        graph, held = self._graph, []
        for x, copy in zip(inputs, graph.uploads):
            if not x.is_contiguous() or x.is_neg():
                x = x.resolve_neg().contiguous()
                held.append(x)
            if copy.source != x.data_ptr():
                copy.read_from(x.data_ptr())
        outputs = [empty_strided(*arguments) for arguments in self._fresh]
        for y, copy in zip(outputs, graph.downloads):
            copy.write_to(y.data_ptr())
        graph.launch(handle)
        for x in inputs:
            x.record_stream(stream)
        return outputs


class Bindings:
    """The bindings of one stream, one for each optimization profile in use."""

    def __init__(
        self, engine: Engine, handle: int, synchronize: Callable[[], None], given: Any = None
    ):
        self._engine = engine
        self._handle = handle
        self._synchronize = synchronize
        self._given = given
        self._by_profile: dict[int, Binding] = {}
        self._current: Binding | None = None

    def select(self, shapes: Shapes) -> Binding:
        """The binding with these input shapes set.

        Raises:
            InputMismatchError: a shape that the engine cannot take.
        """
        binding = self._current
        if binding is not None and binding.shapes == shapes:
            return binding
        profile = profile_of(self._engine.inputs, shapes)
        binding = self._by_profile.get(profile)
        if binding is None:
            binding = self._by_profile[profile] = self._adopt(profile) or self._create(profile)
        if binding.shapes != shapes:
            binding.set_shapes(shapes)
        self._current = binding
        return binding

    def _adopt(self, profile: int) -> Binding | None:
        given = self._given
        if given is None or given.active_optimization_profile != profile:
            return None
        self._given = None
        return Binding(self._engine, given)

    def _create(self, profile: int) -> Binding:
        context = self._engine.cuda_engine.create_execution_context()
        trt_api.share_recorder(self._engine.cuda_engine, context)
        if context is None:
            raise Torch2TrtError("TensorRT could not create an execution context (device memory?)")
        if context.active_optimization_profile != profile:
            if not context.set_optimization_profile_async(profile, self._handle):
                raise Torch2TrtError(f"TensorRT refused optimization profile {profile}")
        self._synchronize()
        return Binding(self._engine, context)


class Lane:
    """All that is needed to run an engine on one CUDA stream.

    TensorRT synchronises when it is launched on the legacy default stream. A lane for that stream
    launches on a side stream of its own, which waits for the default stream before and makes it
    wait after.

    Args:
        handle: the caller's stream.
        given: an execution context to begin with.
        with_graphs: launch CUDA graphs where they can be captured.
    """

    def __init__(self, engine: Engine, handle: int, given: Any = None, with_graphs: bool = False):
        self.engine = engine
        self.device = engine.torch_device
        self._handle = handle
        self._gate = engine.create_gate()
        self._stream = torch.cuda.ExternalStream(handle, self.device)
        running, self._detour = self._stream, None
        if handle == 0:
            self._stream = torch.cuda.default_stream(self.device)
            running = torch.cuda.Stream(self.device)
            self._detour = Detour(self._stream, running)
        self._bindings = Bindings(engine, running.cuda_stream, running.synchronize, given)
        self._binding: Binding | None = None
        self._scratch = torch.empty(256, dtype=torch.uint8, device=self.device)
        self._names = [spec.name for spec in engine.inputs]
        self._graphs: OrderedDict[Any, Graph] = OrderedDict()
        self._with_graphs = with_graphs

    def run(self, inputs: Sequence[torch.Tensor], shapes: Shapes) -> list[torch.Tensor]:
        """Enqueue; the outputs. The inputs are of the engine's types and of these shapes."""
        with self._gate:
            graph = self._graph(shapes) if self._with_graphs else None
            if graph is not None:
                return graph.run(inputs, self._handle, self._stream)
            binding = self._binding
            if binding is None or binding.shapes is not shapes:
                binding = self._select(shapes)
            known, outputs, held = binding.addresses, [], []
            for x, name in zip(inputs, self._names):
                if known.get(name) != x.data_ptr() or not x.is_contiguous() or x.is_neg():
                    held.append(self._tell_input(binding, name, x))
            for name, arguments in binding.fresh:
                y = None if arguments is None else empty_strided(*arguments)
                if y is not None and known.get(name) != y.data_ptr():
                    binding.set_address(name, y.data_ptr() or self._scratch.data_ptr())
                outputs.append(y)
            if self._detour is not None:
                self._detour.launch(binding)
            elif not binding.enqueue(self._handle):
                binding.fail()
            for x in inputs:
                x.record_stream(self._stream)
            if binding.allocators:
                binding.take_unknown(outputs)
            return outputs

    def _tell_input(self, binding: Binding, name: str, x: torch.Tensor) -> torch.Tensor:
        """Tell TensorRT where an input lies, or a copy that it can read; that tensor."""
        x = x.resolve_neg().contiguous()
        if x.data_ptr() % ALIGNMENT:
            x = x.clone()
        binding.set_address(name, x.data_ptr() or self._scratch.data_ptr())
        return x

    def _select(self, shapes: Shapes) -> Binding:
        binding = self._binding = self._bindings.select(shapes)
        binding.shapes = shapes
        return binding

    def _graph(self, shapes: Shapes) -> Graph | None:
        """The captured graph of these shapes, captured now if new; None where capturing fails."""
        graph = self._graphs.get(shapes)
        if graph is not None and graph.generation == self.engine.generation:
            return graph
        profile_of(self.engine.inputs, shapes)
        self._stream.synchronize()
        self._graphs.pop(shapes, None)
        while len(self._graphs) >= MAX_GRAPHS:
            self._graphs.popitem(last=False)
        try:
            graph = self._graphs[shapes] = Graph(self.engine, self._stream, shapes)
        except (Torch2TrtError, RuntimeError) as error:
            self._with_graphs = False
            log.warning("no CUDA graph for this engine, it is launched without: %s", error)
            return None
        return graph


def create_allocator(device: torch.device) -> Any:
    """A TensorRT output allocator over torch memory, for outputs whose shape only running tells.

    Its memory never shrinks and has room for the largest output where TensorRT knows how large that
    is, because TensorRT 8.6 may ask for less than the shape needs that it tells in the end.
    """
    base = trt_api.trt().IOutputAllocator

    class Allocator(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.memory: torch.Tensor | None = None
            self.shape: tuple[int, ...] = ()
            self.largest = 0  # bytes, if known

        def reallocate_output(self, name: str, memory: Any, size: int, alignment: int) -> int:
            for wanted in (max(size, self.largest, 1), max(size, 1)):
                if self.memory is not None and self.memory.numel() >= wanted:
                    return self.memory.data_ptr()
                with suppress(torch.cuda.OutOfMemoryError):
                    self.memory = torch.empty(wanted, dtype=torch.uint8, device=device)
                    return self.memory.data_ptr()
            return 0

        def reallocate_output_async(
            self, name: str, memory: Any, size: int, alignment: int, stream: int
        ) -> int:
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, name: str, shape: Any) -> None:
            self.shape = tuple(shape)

        def take(self, dtype: torch.dtype) -> torch.Tensor:
            size = dtype.itemsize * torch.Size(self.shape).numel()
            if self.memory is None:
                return torch.empty(self.shape, dtype=dtype, device=device)
            if size > self.memory.numel():
                raise Torch2TrtError(
                    f"TensorRT gave an output of shape {self.shape} ({size} bytes), expected no"
                    f" more than the {self.memory.numel()} bytes that it had asked for"
                )
            return self.memory[:size].view(dtype).reshape(self.shape).clone()

    return Allocator()
