"""Tests that run engines. Networks are tiny and built at optimisation level 0."""

import pytest
from tiny_engine import Convolution

from torch2trt.backends import trt_api


def pytest_collection_modifyitems(items):
    reason = None if trt_api.can_run() else trt_api.why_not_run()
    for item in items:
        if item.path.name.startswith("test_gpu_"):
            item.add_marker(pytest.mark.gpu)
            if reason and "tvm" not in item.name:
                item.add_marker(pytest.mark.skip(reason=f"engines do not run here: {reason}"))


@pytest.fixture(scope="session")
def convolution():
    return Convolution(refit=True)


@pytest.fixture(scope="session")
def plain_convolution():
    return Convolution()


@pytest.fixture
def engine(convolution):
    return convolution.engine()
