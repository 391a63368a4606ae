"""Stands in for a GPU: engines whose results come from ``simulate`` on a snapshot of the network.

Everything but TensorRT's builder and runtime is the real thing.
"""

import torch

from torch2trt import module, program
from torch2trt.backends import trt_api
from torch2trt.backends.tensorrt import TensorRTContext
from torch2trt.engine import network_specs
from torch2trt.errors import EngineBuildError
from torch2trt.inference.inputs import in_order, profile_of
from torch2trt.simulate import simulate


class SimulatedEngine:
    """An engine over a network definition."""

    def __init__(self, definition, options):
        self.definition = definition
        self.specs = network_specs(definition.network, options)
        self.inputs = tuple(s for s in self.specs if s.is_input)
        self.outputs = tuple(s for s in self.specs if not s.is_input)
        self.refittable = options.refit

    def weight_names(self):
        return tuple(self.definition.context.weight_dict)

    def run(self, *inputs):
        in_order(self.inputs, inputs, {})
        profile_of(self.inputs, [x.shape for x in inputs])
        network = self.definition.network
        found = simulate(network, {s.name: x for s, x in zip(self.inputs, inputs)})
        return tuple(found[s.name] for s in self.outputs)


class Machine:
    """Counts what the builder was asked for.

    Attributes:
        builds: the options of each build.
        refits: the weight names of each refit.
        recalled: how many engines were started without a network definition.
    """

    def __init__(self):
        self.builds = []
        self.refits = []
        self.recalled = 0
        self.fail = None
        self._definitions = {}

    def build_engine(self, builder, network, options, config_fn=None, progress=None):
        if self.fail is not None:
            raise self.fail
        if config_fn is not None:
            config_fn(builder.create_builder_config())
        self.builds.append(options)
        return b"plan"

    def start(self, owner, description, plan, definition):
        extra = description["extra"]
        stored = (extra["digest"], *sorted(extra["hashes"].items()))
        if definition is None:
            self.recalled += 1
            definition = self._definitions[stored]
        else:
            self._definitions[stored] = definition
        options = owner.options(bool(self.builds and self.builds[-1].refit))
        engine = SimulatedEngine(definition, options)
        owner.engine, owner.run, owner.prepare = engine, engine.run, lambda tensors: engine.run

    def refit(self, owner, definition, changed):
        known = set(owner.engine.weight_names())
        if not owner.engine.refittable or not changed <= known:
            return False
        if known != set(definition.context.weight_dict):
            raise EngineBuildError("other weights than the engine has")
        owner.engine.definition = definition
        self.refits.append(changed)
        return True


def install(monkeypatch):
    """Make this process one in which simulated engines run on CPU tensors."""
    machine = Machine()
    weights = TensorRTContext.weights
    monkeypatch.setattr(
        TensorRTContext, "weights", lambda ctx, w, role: weights(ctx, w.clone(), role)
    )
    monkeypatch.setattr(trt_api, "can_run", lambda: True)
    monkeypatch.setattr(program, "build_engine", machine.build_engine)
    monkeypatch.setattr(program.TensorRTProgram, "start", lambda *a: machine.start(*a))
    monkeypatch.setattr(program.TensorRTProgram, "_refit", lambda *a: machine.refit(*a))
    monkeypatch.setattr(program.Definition, "release", lambda definition: None)
    monkeypatch.setattr(program.TensorRTProgram, "_place", lambda owner: "simulated")
    monkeypatch.setattr(program, "describe", lambda specs, device, extra: {"extra": extra})
    monkeypatch.setattr(module, "_cuda_device", lambda name, device: 0)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    return machine
