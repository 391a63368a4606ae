"""Tests that run engines. Networks are tiny and built at optimisation level 0."""

import os

import pytest
from processes import Processes
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


@pytest.fixture(scope="session")
def processes():
    """What needs a process of its own, all running from the first use on."""
    with Processes() as started:
        yield started


def pytest_runtest_logreport(report):
    """Write down failures and long tests at once: a run may be cut short."""
    path = os.environ.get("HOST_COST_JSON")
    if path and (report.failed or report.duration > 2):
        with open(f"{path}.tests.txt", "a") as file:
            file.write(f"{report.outcome} {report.duration:.1f} s {report.when} {report.nodeid}\n")
            file.write(f"{report.longreprtext[-3000:]}\n" if report.failed else "")
