"""Peak host memory of a build on a GPU."""

import json

import pytest
from host_cost import write


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_host_memory_of_a_build(processes, kind):
    figures = json.loads(processes.output(kind).splitlines()[-1])
    write(f"a build ({kind})", {name: figures[name] for name in ("times", "seconds")})
    assert figures["times"] <= 2.5, figures
