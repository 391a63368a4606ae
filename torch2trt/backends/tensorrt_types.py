"""The data types of layers where TensorRT infers them only during the build: weakly typed networks.

There ``ITensor.dtype`` of what a layer makes is a guess until then (a comparison of floats says
float), so what is known from the kind of the layer is kept beside the network, by the name of the
tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import trt_api

_ONE_TYPE = {"NON_ZERO": "INT32", "NMS": "INT32"}
_OF_INPUT = {"SELECT": 1, "ONE_HOT": 1}
_BOOL_OPERATIONS = {
    "UNARY": ("NOT", "ISINF", "ISNAN"),
    "ELEMENTWISE": ("EQUAL", "GREATER", "LESS", "AND", "OR", "XOR"),
}
_DECLARED = ("CONSTANT", "PLUGIN", "PLUGIN_V2", "PLUGIN_V3")
_MOVES = (
    "CAST",
    "IDENTITY",
    "SHUFFLE",
    "SLICE",
    "CONCATENATION",
    "GATHER",
    "SCATTER",
    "SELECT",
    "PADDING",
    "ONE_HOT",
)
_INTERFACES = {
    "CAST": "ICastLayer",
    "UNARY": "IUnaryLayer",
    "ELEMENTWISE": "IElementWiseLayer",
    "QUANTIZE": "IQuantizeLayer",
    "DEQUANTIZE": "IDequantizeLayer",
    "FILL": "IFillLayer",
}


def is_weakly_typed(network: Any) -> bool:
    """Whether precisions are constraints on layers (8.6, or 10.x without STRONGLY_TYPED)."""
    trt = trt_api.trt()
    if not hasattr(trt.ILayer, "precision"):
        return False
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return flag is None or not network.get_flag(flag)


def layer_kind(layer: Any) -> str:
    """The name of the ``LayerType``, which some layers hide behind an attribute of that name."""
    return trt_api.trt().ILayer.type.__get__(layer).name


def output_types(layer: Any, type_of: Callable[[Any], Any]) -> list[Any]:
    """The ``DataType`` of each output of a layer, from its kind, attributes and input types.

    Args:
        layer: any layer of a network.
        type_of: gives the ``DataType`` of an input tensor.
    """
    kind = layer_kind(layer)
    interface = _INTERFACES.get(kind)
    if interface is not None and type(layer) is trt_api.trt().ILayer:
        layer.__class__ = getattr(trt_api.trt(), interface)
    return [_output_type(layer, kind, i, type_of) for i in range(layer.num_outputs)]


def _output_type(layer: Any, kind: str, index: int, type_of: Callable[[Any], Any]) -> Any:
    types = trt_api.trt().DataType
    if hasattr(layer, "output_type_is_set") and layer.output_type_is_set(index):
        return layer.get_output_type(index)
    if kind in _DECLARED:
        return layer.get_output(index).dtype
    if kind == "SHAPE":
        return trt_api.trt_dtype(trt_api.torch_dtype(getattr(types, "INT64", types.INT32)))
    if kind in _ONE_TYPE or (kind == "TOPK" and index == 1):
        return getattr(types, _ONE_TYPE.get(kind, "INT32"))
    if kind == "CAST":
        return layer.to_type
    if kind in ("QUANTIZE", "DEQUANTIZE"):
        return getattr(layer, "to_type", types.INT8 if kind == "QUANTIZE" else types.FLOAT)
    if kind in _BOOL_OPERATIONS and layer.op.name in _BOOL_OPERATIONS[kind]:
        return types.BOOL
    if kind == "FILL":
        return _fill_type(layer, type_of)
    return type_of(layer.get_input(_OF_INPUT.get(kind, 0)))


def _fill_type(layer: Any, type_of: Callable[[Any], Any]) -> Any:
    """What newer releases are told; else that of a start value that is a tensor, or floats."""
    start = layer.get_input(1) if layer.num_inputs > 1 else None
    floats = trt_api.trt().DataType.FLOAT
    return getattr(layer, "to_type", floats if start is None else type_of(start))


class TypeTable:
    """The types of the tensors of a weakly typed network, whoever added the layers.

    It holds names and numbers only, so that it does not keep the network alive.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._makers: dict[str, int] = {}
        self._seen = 0

    def of(self, network: Any, tensor: Any) -> Any:
        """The ``DataType`` of a tensor."""
        if tensor.is_network_input:
            return tensor.dtype
        name = tensor.name
        if name not in self._known:
            maker = self._maker(network, name)
            if maker is None:
                return tensor.dtype
            self.learn(network, maker)
        return self._known[name]

    def set(self, tensor: Any, dtype: Any) -> None:
        """Say what a tensor is, under the name that it has now."""
        self._known[tensor.name] = dtype

    def learn(self, network: Any, layer: Any) -> list[Any]:
        """The types of a layer's outputs, which are known from now on."""
        types = output_types(layer, lambda tensor: self.of(network, tensor))
        for i, dtype in enumerate(types):
            self.set(layer.get_output(i), dtype)
        return types

    def known(self) -> set[Any]:
        """Every ``DataType`` that was learned or set."""
        return set(self._known.values())

    def computed_in(self, network: Any, tensor: Any) -> Any:
        """The ``DataType`` of a tensor before it was cast."""
        maker = None if tensor.is_network_input else self._maker(network, tensor.name)
        cast = maker is not None and layer_kind(maker) == "CAST"
        return self.of(network, maker.get_input(0) if cast else tensor)

    def only_moved(self, network: Any, tensor: Any) -> bool:
        """Whether a float16 tensor was cast from wider floats, and nothing computed since."""
        maker = None if tensor.is_network_input else self._maker(network, tensor.name)
        kind = "" if maker is None else layer_kind(maker)
        if kind not in _MOVES:
            return False
        inputs = (maker.get_input(i) for i in range(maker.num_inputs))
        if kind == "CAST":
            return self.of(network, next(inputs)) == trt_api.trt().DataType.FLOAT
        half = trt_api.trt().DataType.HALF
        return any(
            self.of(network, x) == half and self.only_moved(network, x)
            for x in inputs
            if x is not None
        )

    def _maker(self, network: Any, name: str) -> Any:
        if name not in self._makers:
            if self._seen == network.num_layers:  # a tensor was renamed
                self._seen = 0
            for number in range(self._seen, network.num_layers):
                layer = network.get_layer(number)
                for i in range(layer.num_outputs):
                    self._makers[layer.get_output(i).name] = number
            self._seen = network.num_layers
        return network.get_layer(self._makers[name]) if name in self._makers else None


def types_of(network: Any) -> set[Any]:
    """Every ``DataType`` that a tensor of a weakly typed network has."""
    table = TypeTable()
    found = {network.get_input(i).dtype for i in range(network.num_inputs)}
    for number in range(network.num_layers):
        found.update(table.learn(network, network.get_layer(number)))
    return found
