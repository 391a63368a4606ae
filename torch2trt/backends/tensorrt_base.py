"""What TensorRT primitives are built from: named layers, named constants, dtypes and ranks."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..errors import ConversionError
from . import trt_api
from .base import Dim, Operand, SymbolicContext, Tensor
from .tensorrt_dims import DimsMixin, SymInt
from .tensorrt_types import TypeTable, is_weakly_typed, layer_kind

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTS = (torch.int64, torch.int32, torch.int8, torch.uint8)
_INT32 = torch.iinfo(torch.int32)


@dataclass
class _NetworkState:
    """What belongs to one network, however many contexts emit into it."""

    taken: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    arrays: list[np.ndarray] = field(default_factory=list)
    types: TypeTable = field(default_factory=TypeTable)


_STATES: weakref.WeakKeyDictionary[Any, _NetworkState] = weakref.WeakKeyDictionary()


def _state_of(network: Any) -> _NetworkState:
    state = _STATES.get(network)
    if state is None:
        state = _STATES[network] = _NetworkState()
    if network.error_recorder is None:
        trt_api.record_errors(network)
    for i in range(network.num_inputs):
        state.taken.add(network.get_input(i).name)
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        state.taken.add(layer.name)
        outputs = (layer.get_output(j) for j in range(layer.num_outputs))
        state.taken.update(tensor.name for tensor in outputs if tensor is not None)
    return state


class TensorRTBase(DimsMixin, SymbolicContext):
    """Layers, constants, dtypes and ranks; the primitives are in the mixins that extend it.

    Attributes:
        network: the ``INetworkDefinition`` that is being defined.
        index_dtype: the dtype of shapes and of index tables.
        weight_dict: the constants by weight name, as they were given (TensorRT may hold them in
            another dtype).
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.trt = trt_api.trt()
        self.weight_dict: dict[str, torch.Tensor] = {}
        self.index_dtype = trt_api.torch_dtype(trt_api.trt_dtype(torch.int64))
        self._state = _state_of(network)
        self._weakly_typed = is_weakly_typed(network)
        self._bytes: set[str] = set()
        self._numbers: dict[tuple[str, torch.dtype, tuple[int, ...]], Tensor] = {}
        self._values: dict[str, torch.Tensor] = {}
        self._infinite: dict[str, float | None] = {}  # by name; the value of a constant of one
        self._unnamed: list[tuple[Any, str, torch.Tensor]] = []
        self._reset_dims()

    # ---- names and layers ------------------------------------------------------------------------
    def unique(self, role: str = "") -> str:
        """A name that no layer, tensor or weight of the network has yet."""
        base = f"{self.scope}.{role}" if role else self.scope
        state = self._state
        name = base
        while name in state.taken:
            state.counts[base] = count = state.counts.get(base, 0) + 1
            name = f"{base}.{count}"
        state.taken.add(name)
        return name

    def out(self, layer: Any, index: int = 0) -> Tensor:
        """Name a layer and its outputs after the current node, and return the output `index`.

        Raises:
            UnsupportedOpError: `layer` is None, that is, TensorRT refused it; with TensorRT's
                reason.
        """
        self.check(layer)
        name = self.unique()
        layer.name = name
        if self.node is not None and hasattr(layer, "metadata"):
            layer.metadata = f"{self.node.scope} | {self.node.source}"
        count = layer.num_outputs
        for i in range(count):
            layer.get_output(i).name = name if count == 1 else self.unique(f"output{i}")
        if self._weakly_typed:
            self._constrain(layer)
            self._pass_infinity(layer)
        return layer.get_output(index)

    def check(self, added: Any) -> Any:
        """`added` itself, unless TensorRT refused to add it.

        Raises:
            UnsupportedOpError: `added` is None; with TensorRT's reason.
        """
        if added is None:
            self._unnamed.clear()
            reasons = "; ".join(trt_api.take_errors(self.network)) or "no reason given, see the log"
            raise self.refuse(f"TensorRT refused a layer: {reasons}")
        for weights, role, tensor in self._unnamed:
            name = self.unique(role)
            self.weight_dict[name] = tensor
            self.network.set_weights_name(weights, name)
        self._unnamed.clear()
        return added

    def _constrain(self, layer: Any) -> None:
        """Let a layer of floats compute in the type of its inputs, and give what it should."""
        types = self._state.types.learn(self.network, layer)
        floats = (self.trt.DataType.FLOAT, self.trt.DataType.HALF)
        inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
        given = [self.kind_of(x) for x in inputs if x is not None]
        cast = layer_kind(layer) == "CAST"
        wanted = next((dtype for dtype in given if dtype in floats), None)
        if wanted is not None and not cast:
            layer.precision = wanted
        for i, dtype in enumerate(types):
            if dtype in floats and (cast or wanted is not None):
                layer.set_output_type(i, dtype)

    def _pass_infinity(self, layer: Any) -> None:
        """What is computed from infinite numbers may be infinite."""
        if not self._infinite or layer_kind(layer) == "SOFTMAX":
            return
        inputs = (layer.get_input(i) for i in range(layer.num_inputs))
        if any(x is not None and x.name in self._infinite for x in inputs):
            self._infinite.update(
                (layer.get_output(i).name, None) for i in range(layer.num_outputs)
            )

    def has(self, feature: str) -> bool:
        """Whether this release has a feature: a network method, or a dotted name."""
        return trt_api.supports(feature)

    # ---- tensors ---------------------------------------------------------------------------------
    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.trt.ITensor)

    def is_dim(self, value: Any) -> bool:
        return isinstance(value, SymInt)

    def kind_of(self, x: Tensor) -> Any:
        """The ``DataType`` of a tensor, which weakly typed networks know after the build only."""
        return self._state.types.of(self.network, x) if self._weakly_typed else x.dtype

    def dtype(self, x: Tensor) -> torch.dtype:
        if self._bytes and x.name in self._bytes:
            return torch.uint8
        return trt_api.torch_dtype(self.kind_of(x))

    def same_dtype(self, emitted: torch.dtype, recorded: torch.dtype) -> bool:
        """int32 stands for int64 where TensorRT has no int64."""
        if emitted == torch.int32 and recorded == torch.int64:
            return not self.has("DataType.INT64")
        return emitted == recorded

    def kind(self, dtype: torch.dtype) -> Any:
        """The ``DataType`` of a torch dtype.

        Raises:
            UnsupportedOpError: this release has no such type.
        """
        try:
            return trt_api.trt_dtype(dtype)
        except ConversionError as error:
            raise self.refuse(str(error)) from error

    def movable(self, x: Tensor) -> Tensor:
        """What layers that only move data take for `x`: uint8 is for network inputs and outputs.

        Between them uint8 values are int32 tensors that ``dtype`` knows to be uint8.
        """
        kinds = self.trt.DataType
        return self._through_floats(x, kinds.INT32) if self.kind_of(x) == kinds.UINT8 else x

    def _through_floats(self, x: Tensor, kind: Any) -> Tensor:
        """Between uint8 and int32; 8.6 converts uint8 from and to floats only: these are exact."""
        if self._weakly_typed:
            x = self.out(self.network.add_cast(x, self.trt.DataType.FLOAT))
        return self.out(self.network.add_cast(x, kind))

    def back(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The result of layers that took a wider type, as `dtype`; the values fit into it."""
        if dtype != torch.uint8:
            wanted = self.kind(dtype)
            return x if self.kind_of(x) == wanted else self.out(self.network.add_cast(x, wanted))
        self._bytes.add(x.name)
        return x

    def rank(self, x: Operand) -> int:
        """The number of dimensions of a tensor or constant."""
        return len(x.shape)

    def input(self, name: str, shape: Sequence[Dim | None], dtype: torch.dtype) -> Tensor:
        dims = tuple(-1 if dim is None else dim for dim in shape)
        self._state.taken.add(name)
        return self.check(self.network.add_input(name, self.kind(dtype), dims))

    # ---- constants -------------------------------------------------------------------------------
    def weights(self, tensor: torch.Tensor, role: str) -> Any:
        """``trt.Weights`` over the values of `tensor`, named ``scope.role`` for refit.

        The memory is contiguous, shared with `tensor` where that is on the CPU, and lives as long
        as the network. The name is set by ``check`` when the layer exists, because TensorRT names
        only weights that a layer has.
        """
        weights = self.plain_weights(tensor)
        if tensor.numel():
            self._unnamed.append((weights, role, tensor))
        return weights

    def plain_weights(self, tensor: torch.Tensor) -> Any:
        """``trt.Weights`` without a name; bfloat16 becomes float32 and uint8 int32."""
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        if tensor.dtype == torch.uint8:
            tensor = tensor.to(torch.int32)
        if tensor.dtype == torch.int64 and not self.has("DataType.INT64"):
            tensor = self._as_int32(tensor)
        if tensor.dtype not in (*FLOATS, *INTS, torch.bool):
            raise self.refuse(
                f"TensorRT has no constants of {tensor.dtype}, cast them to float32 or int64"
            )
        if not tensor.numel():
            return self.no_weights(tensor.dtype)
        array = tensor.cpu().contiguous().numpy()
        self._state.arrays.append(array)
        return self.trt.Weights(array)

    def no_weights(self, dtype: torch.dtype) -> Any:
        """Empty ``trt.Weights``: an argument that is left out, typed like the others."""
        return self.trt.Weights(self.kind(dtype))

    def _as_int32(self, tensor: torch.Tensor) -> torch.Tensor:
        outside = tensor[(tensor < _INT32.min) | (tensor > _INT32.max)]
        if outside.numel():
            raise self.refuse(
                f"{trt_api.version()} has no int64, and {outside[0].item()} does not fit int32"
            )
        return tensor.to(torch.int32)

    def constant(
        self, value: torch.Tensor, role: str = "constant", shape: Sequence[int] | None = None
    ) -> Tensor:
        """A constant under the weight name ``scope.role``.

        bfloat16 values are stored as float32 and cast in the network, which is exact and readable
        by every release.

        Args:
            value: the values; a 0-d float64 counts as a number and becomes float32, unless it is
                an output.
            role: the last part of the name.
            shape: the shape of the layer, that of `value` with dimensions of 1 added or removed.
        """
        value = value if role == "output" else self._number(value)
        return self._constant_layer(value, self.weights(value, role), shape)

    def literal(self, value: torch.Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """A constant without a weight name; float64 becomes float32. Equal numbers share it."""
        if value.dtype == torch.float64:
            value = value.float()
        if value.numel() != 1:
            return self._constant_layer(value, self.plain_weights(value), shape)
        shape = tuple(value.shape) if shape is None else tuple(shape)
        key = (str(value.item()), value.dtype, shape)
        if key not in self._numbers:
            x = self._constant_layer(value, self.plain_weights(value), shape)
            self._numbers[key] = x
            self._values[x.name] = value
        return self._numbers[key]

    def value_of(self, x: Operand) -> torch.Tensor | None:
        """The values of a constant, or of a literal of one element; None of anything computed."""
        return self._values.get(x.name) if self.is_tensor(x) else x

    def _not_finite(self, x: Tensor) -> float | None:
        """The infinite number or NaN that a constant of a weakly typed network is, else None."""
        return self._infinite.get(x.name)

    def _number(self, value: torch.Tensor) -> torch.Tensor:
        return value.float() if value.dtype == torch.float64 and value.dim() == 0 else value

    def _constant_layer(
        self, value: torch.Tensor, weights: Any, shape: Sequence[int] | None
    ) -> Tensor:
        shape = tuple(value.shape) if shape is None else tuple(shape)
        layer = self.check(self.network.add_constant(shape, weights))
        if self._weakly_typed and value.dtype == torch.float16:
            layer.precision = self.trt.DataType.HALF
            layer.set_output_type(0, self.trt.DataType.HALF)
        x = self.out(layer)
        if self._weakly_typed and value.is_floating_point():
            if value.numel() == 1 and not bool(value.isfinite()):
                self._infinite[x.name] = value.item()
            elif bool(value.isinf().any()):
                self._infinite[x.name] = None
        if value.dtype == torch.bfloat16:
            return self.out(self.network.add_cast(x, self.kind(torch.bfloat16)))
        return self.back(x, torch.uint8) if value.dtype == torch.uint8 else x

    def number(self, value: float, dtype: torch.dtype, rank: int) -> Tensor:
        """A literal of one element with `rank` dimensions."""
        return self.literal(torch.tensor(value, dtype=dtype), (1,) * rank)

    # ---- plain layers ----------------------------------------------------------------------------
    def _unary_layer(self, kind: str, x: Tensor) -> Tensor:
        return self.out(self.network.add_unary(x, getattr(self.trt.UnaryOperation, kind)))

    def _elementwise_layer(self, kind: str, a: Tensor, b: Tensor) -> Tensor:
        return self.out(
            self.network.add_elementwise(a, b, getattr(self.trt.ElementWiseOperation, kind))
        )

    def _select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.out(self.network.add_select(condition, a, b))

    # ---- ranks and dtypes ------------------------------------------------------------------------
    def align(self, *operands: Operand) -> list[Tensor]:
        """The operands as symbolic tensors of one rank (1s are prepended) and one dtype.

        Raises:
            UnsupportedOpError: the dtypes differ.
        """
        rank = max(self.rank(x) for x in operands)
        aligned = [self._with_rank(x, rank) for x in operands]
        dtypes = [self.dtype(x) for x in aligned]
        if len(set(dtypes)) > 1:
            got = ", ".join(map(str, dtypes))
            raise self.refuse(
                f"the operands of one layer have the dtypes {got}, expected one dtype"
            )
        return aligned

    def _with_rank(self, x: Operand, rank: int) -> Tensor:
        missing = rank - self.rank(x)
        if not self.is_tensor(x):
            return self.constant(x, shape=(1,) * missing + tuple(x.shape))
        if not missing:
            return x
        shape = (1,) * missing + self.shape(x)
        known, special = self._values.get(x.name), self._not_finite(x)
        if special is not None:
            return self.number(special, self.dtype(x), rank)
        return self.reshape(x, shape) if known is None else self.literal(known, shape)

    def axes(self, dims: Sequence[int]) -> int:
        """TensorRT's bit mask of axes."""
        return sum(1 << dim for dim in set(dims))

    def via(self, dtype: torch.dtype, x: Operand) -> Tensor:
        """`x` cast to `dtype`; a constant is cast in PyTorch."""
        return self.cast(x, dtype) if self.is_tensor(x) else x.to(dtype)

    def dtype_of(self, x: Operand) -> torch.dtype:
        """The dtype of a tensor or constant."""
        return self.dtype(x) if self.is_tensor(x) else x.dtype

    def is_static(self, dims: Sequence[Dim]) -> bool:
        """Whether no dimension is symbolic."""
        return all(isinstance(dim, int) for dim in dims)
