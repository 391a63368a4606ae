"""Several samples as one network of a backend, run and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from torch2trt.backends import trt_api, tvm_context_class
from torch2trt.context import use_context
from torch2trt.core import GraphModule
from torch2trt.errors import EngineBuildError
from torch2trt.inference import TVMInference

Tensors = list[torch.Tensor]


class Batch:
    """A network that takes the inputs of all added samples and gives all their outputs."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.inputs: list[torch.Tensor] = []
        self.outputs: list[Any] = []
        self.counts: list[int] = []

    def add(
        self, graph: GraphModule, inputs: Sequence[torch.Tensor], constants: bool = False
    ) -> None:
        """Emit a traced sample; with `constants` only its first tensor is an input."""
        first = len(self.inputs)
        with use_context(self.ctx):
            given = list(inputs[:1] if constants else inputs)
            arguments = [
                self.ctx.input(f"input{first + i}", x.shape, x.dtype) for i, x in enumerate(given)
            ]
            results = graph.run([*arguments, *inputs[len(given) :]])
            outputs = [self.ctx.operand(x, "output") for x in results]
        self.inputs += given
        self.outputs += outputs
        self.counts.append(len(outputs))

    def split(self, results: Sequence[torch.Tensor]) -> list[Tensors]:
        """The outputs by sample."""
        rest = iter(results)
        return [[next(rest) for _ in range(count)] for count in self.counts]


class TensorRTBatch(Batch):
    """A TensorRT network: `run` simulates it, `build` makes the engine."""

    def __init__(self) -> None:
        from torch2trt.backends.tensorrt import TensorRTContext

        self.builder = trt_api.create_builder()
        super().__init__(TensorRTContext(trt_api.create_network(self.builder)))

    def run(self) -> list[Tensors]:
        """The outputs of every sample."""
        from torch2trt.simulate import simulate

        names = self._finish()
        results = simulate(self.ctx.network, self.inputs, weights=self.ctx.weight_dict)
        return self.split([results[name] for name in names])

    def _finish(self) -> list[str]:
        names = [f"output{i}" for i in range(len(self.outputs))]
        with use_context(self.ctx):
            self.ctx.finish(self.outputs, names)
        return names

    def build(self) -> None:
        """Build the engine ahead of time, instead of `run`.

        Raises:
            EngineBuildError: TensorRT could not.
        """
        self._finish()
        if hasattr(self.builder, "max_threads"):
            self.builder.max_threads = 1  # with more, builds side by side were seen to hang
        config = self.builder.create_builder_config()
        if self.builder.build_serialized_network(self.ctx.network, config) is None:
            raise EngineBuildError("; ".join(trt_api.take_errors(self.builder))[:300])


class TVMBatch(Batch):
    """A Relax module, compiled for this CPU."""

    def __init__(self) -> None:
        super().__init__(tvm_context_class("relax")())

    def run(self) -> list[Tensors]:
        """The outputs of every sample."""
        from torch2trt.backends.schedules import compile_cpu

        with use_context(self.ctx):
            module = self.ctx.finish(self.outputs)
        compiled = compile_cpu(module, None, list(self.ctx.tvm_weight_dict.values()))
        names = [f"input{i}" for i in range(len(self.inputs))]
        return self.split(list(TVMInference(compiled, input_names=names).run(*self.inputs)))


BATCHES = {"tensorrt": TensorRTBatch, "tvm": TVMBatch}
