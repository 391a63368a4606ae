"""A TensorRT engine for sum = x + y that computes in host memory, with a dynamic number of rows."""

import ctypes

import numpy as np

from torch2trt.backends import trt_api


class FakeContext:
    """An execution context for out = x + y on host memory, with dynamic rows."""

    def __init__(self, engine):
        self.engine = engine
        self.active_optimization_profile = 0
        self.profiler = None
        self.shapes = {"y": (1, 3)}
        self.addresses = {}
        self.shape_calls = 0
        self.handles = []

    def set_optimization_profile_async(self, profile, handle):
        self.active_optimization_profile = profile
        return True

    def set_input_shape(self, name, shape):
        self.shape_calls += 1
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name):
        if self.shapes["x"][0] == self.engine.unfit:
            self.error_recorder.report_error(None, "a slice lies outside of its tensor")
            return (-1, -1)
        return self.shapes["x"]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        self.handles.append(handle)
        if self.engine.broken:
            return False
        if self.engine.captured is None:
            self.compute()
        else:
            self.engine.captured.append(self.compute)
        return True

    def compute(self):
        def at(name, shape):
            floats = ctypes.c_float * int(np.prod(shape))
            return np.frombuffer(floats.from_address(self.addresses[name]), "f4").reshape(shape)

        at("sum", self.shapes["x"])[...] = at("x", self.shapes["x"]) + at("y", (1, 3))
        if self.profiler is not None:
            self.profiler.report_layer_time("block.0.add", 0.25)


class FakeCudaEngine:
    num_io_tensors = 3
    num_optimization_profiles = 1
    broken = False
    unfit = None  # a number of rows that the layers cannot take
    captured = None  # while a graph is captured, what it will do

    def __init__(self):
        self.contexts = []

    def get_tensor_name(self, index):
        return ("sum", "x", "y")[index]

    def get_tensor_mode(self, name):
        modes = trt_api.trt().TensorIOMode
        return modes.OUTPUT if name == "sum" else modes.INPUT

    def get_tensor_location(self, name):
        return trt_api.trt().TensorLocation.DEVICE

    def get_tensor_dtype(self, name):
        return trt_api.trt().float32

    def get_tensor_shape(self, name):
        return (1, 3) if name == "y" else (-1, 3)

    def get_tensor_profile_shape(self, name, profile):
        return [(1, 3)] * 3 if name == "y" else [(1, 3), (2, 3), (4, 3)]

    def create_execution_context(self):
        self.contexts.append(FakeContext(self))
        return self.contexts[-1]
