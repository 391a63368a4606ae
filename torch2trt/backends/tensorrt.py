"""The TensorRT context: every primitive as layers of one ``INetworkDefinition``.

Runs with TensorRT 8.6, 10, 11 and TensorRT-RTX; what a release lacks is found by attribute and
composed from what it has.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..errors import ConversionError
from . import trt_api
from .base import Tensor
from .tensorrt_resize import ResizeMixin

log = logging.getLogger("torch2trt.tensorrt")


class TensorRTContext(ResizeMixin):
    """Emits into a network of explicit batch; symbolic tensors are the network's own ``ITensor``.

    Every layer is named after the node that it came from, and constants that come from the module
    carry weight names (``weight_dict``), so that an engine can be refitted.
    """

    name = "tensorrt"
    lineage = ("tensorrt",)
    is_tensorrt = True

    def __init__(self, network: Any) -> None:
        if getattr(network, "has_implicit_batch_dimension", False):
            raise ConversionError(
                "the network has an implicit batch dimension; make it with 1 << "
                "int(NetworkDefinitionCreationFlag."
                "EXPLICIT_BATCH), or with torch2trt.backends.trt_api.create_network(builder)"
            )
        super().__init__(network)

    def finish(self, outputs: Sequence[Tensor], names: Sequence[str] | None = None) -> list[Tensor]:
        """Mark network outputs.

        A network input, or a tensor that is an output already, is marked through an identity layer.

        Args:
            outputs: the tensors, in order.
            names: their names; by default they keep the names of their layers.

        Returns:
            The tensors that were marked.
        """
        marked = []
        for i, tensor in enumerate(outputs):
            tensor = self._markable(tensor)
            kind = self.kind_of(tensor)
            if names is not None:
                tensor.name = names[i]
                self._state.taken.add(names[i])
            self.network.mark_output(tensor)
            if self._weakly_typed:
                self._declare(tensor, kind)
                self._warn_of_rounding(tensor, kind)
            marked.append(tensor)
        return marked

    def _markable(self, tensor: Tensor) -> Tensor:
        """`tensor` in the type of its dtype, made by a layer, and not marked yet."""
        byte = self.trt.DataType.UINT8
        if self.dtype(tensor) == torch.uint8 and self.kind_of(tensor) != byte:
            tensor = self._through_floats(tensor, byte)
        if tensor.is_network_input or tensor.is_network_output:
            tensor = self.out(self.network.add_identity(tensor))
        return tensor

    def _warn_of_rounding(self, output: Tensor, kind: Any) -> None:
        """float32 results of a weakly typed network with float16 parts, unless they are float16
        cast to float32."""
        types = self._state.types
        kinds = self.trt.DataType
        mixed = kind == kinds.FLOAT and kinds.HALF in types.known()
        if mixed and types.computed_in(self.network, output) != kinds.HALF:
            log.warning(
                "output %r: %s may round float32 values of a network with float16 parts to "
                "float16; give the parts engines of their own where that matters",
                output.name, trt_api.version(),
            )  # fmt: skip

    def _declare(self, output: Tensor, kind: Any) -> None:
        """A weakly typed network converts outputs to the types they declare, or fails to."""
        self._state.types.set(output, kind)
        if output.dtype != kind:
            output.dtype = kind
