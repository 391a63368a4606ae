"""Building engines and the files they are kept in. Nothing here runs an engine."""

import os
import signal
import stat
import threading

import pytest
import torch

from torch2trt import container
from torch2trt.backends import trt_api
from torch2trt.build import BuildOptions, _config, _has_symbol, build_engine
from torch2trt.engine import Engine, EngineFileError, describe, network_specs
from torch2trt.errors import BackendUnavailableError, EngineBuildError
from torch2trt.files import write_atomic

needs_builder = pytest.mark.skipif(
    not trt_api.available() or not (trt_api.is_rtx() or torch.cuda.is_available()),
    reason="no TensorRT that builds on this machine",
)
no_gpu = pytest.mark.skipif(trt_api.can_run(), reason="says what happens where engines cannot run")


def define(batch=1, other="float32"):
    """x + y with the layer name and source line that a conversion gives."""
    trt = trt_api.trt()
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    x = network.add_input("x", trt.float32, (batch, 3))
    y = network.add_input("y", getattr(trt, other), (1, 3))
    layer = network.add_elementwise(x, y, trt.ElementWiseOperation.SUM)
    layer.name, layer.metadata = "block.0.add", "net.py(41): forward"
    layer.get_output(0).name = "sum"
    network.mark_output(layer.get_output(0))
    return builder, network


RANGE = {"x": ((1, 3), (2, 3), (4, 3))}


@needs_builder
def test_builds_static_and_dynamic():
    assert len(build_engine(*define())) > 1000
    assert len(build_engine(*define(-1), BuildOptions(profiles=RANGE))) > 1000


@needs_builder
def test_sizes_that_depend_on_values_come_with_a_profile():
    trt = trt_api.trt()
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    layer = network.add_non_zero(network.add_input("x", trt.float32, (4, 5)))
    network.mark_output(layer.get_output(0))
    assert _config(builder, network, BuildOptions()).num_optimization_profiles == 1
    assert _config(*define(), BuildOptions()).num_optimization_profiles == 0


@needs_builder
@pytest.mark.skipif(not trt_api.available() or not trt_api.strongly_typed(), reason="8.6 casts")
def test_a_failed_build_tells_the_workspace():
    with pytest.raises(EngineBuildError, match="layers had 64 bytes of workspace"):
        build_engine(*define(other="float16"), BuildOptions(workspace=64))


@needs_builder
def test_the_builder_is_usable_after_a_failed_build():
    builder, network = define(other="float16")
    with pytest.raises(EngineBuildError):
        build_engine(builder, network)
    x = trt_api.create_network(builder)
    layer = x.add_identity(x.add_input("x", trt_api.trt().float32, (1,)))
    x.mark_output(layer.get_output(0))
    assert len(build_engine(builder, x)) > 1000


@needs_builder
@pytest.mark.skipif(not trt_api.available() or not trt_api.strongly_typed(), reason="8.6 casts")
def test_failure_names_the_layer_its_source_and_tensorrts_reason():
    with pytest.raises(EngineBuildError) as caught:
        build_engine(*define(other="float16"))
    text = str(caught.value)
    assert "layer block.0.add from net.py(41): forward" in text
    assert "must have same input types" in text
    assert "cudaError 35" not in text


@needs_builder
@pytest.mark.parametrize(
    "options, message",
    [
        ({}, r"x \(-1, 3\)"),
        ({"profiles": {"z": ((1,), (1,), (1,))}}, "expected one for each dynamic input"),
        ({"profiles": {"x": ((1, 4), (2, 4), (4, 4))}}, r"fits \(-1, 3\)"),
        ({"profiles": RANGE, "flags": ("NO_SUCH_FLAG",)}, "NO_SUCH_FLAG"),
    ],
)
def test_bad_options_say_what_was_expected(options, message):
    with pytest.raises(EngineBuildError, match=message):
        build_engine(*define(-1), BuildOptions(**options))


@pytest.mark.parametrize("shapes", [((2,), (1,), (3,)), ((1,), (2, 2), (3,)), ((-1,), (1,), (1,))])
def test_a_profile_that_is_no_range_is_refused(shapes):
    with pytest.raises(EngineBuildError, match="min <= opt <= max"):
        BuildOptions(profiles={"x": shapes})


def test_options_are_frozen_hashable_and_keyed_without_the_timing_cache():
    one = BuildOptions(profiles=RANGE, flags=("b", "a"), timing_cache="here")
    two = BuildOptions(profiles=[RANGE], flags=("a", "b"), timing_cache="there")
    assert one.key() == two.key() and len({one.key(), BuildOptions(tf32=True).key()}) == 2
    assert hash(one) != 0
    with pytest.raises(AttributeError):
        one.tf32 = True


@needs_builder
def test_options_reach_the_configuration():
    seen = {}
    trt = trt_api.trt()

    def look(config):
        seen["tf32"] = config.get_flag(trt.BuilderFlag.TF32)
        seen["level"] = config.builder_optimization_level
        seen["streams"] = config.max_aux_streams
        seen["pool"] = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)

    options = BuildOptions(workspace=1 << 20, tf32=True, optimization_level=1, aux_streams=3)
    build_engine(*define(), options, config_fn=look)
    assert seen == {"tf32": True, "level": 1, "streams": 3, "pool": 1 << 20}
    build_engine(*define(), config_fn=look)
    assert seen["tf32"] is False


@needs_builder
def test_config_fn_may_take_the_builder_too():
    seen = []
    builder, network = define()
    build_engine(builder, network, config_fn=lambda *args: seen.append(len(args)))
    build_engine(builder, network, config_fn=lambda b, config: seen.append(b is builder))
    assert seen == [1, True]


def test_a_library_that_only_satisfies_the_loader_is_told_from_a_working_one():
    assert _has_symbol(["libm.so.6"], "cos")
    assert not _has_symbol(["libm.so.6"], "cudnnGetVersion")
    assert not _has_symbol(["libno_such_library.so.9"], "cos")


# --- progress and cancelling ---------------------------------------------------------------------

needs_progress = pytest.mark.skipif(
    not trt_api.available() or not trt_api.supports("IProgressMonitor"),
    reason="this TensorRT reports no progress",
)


@needs_builder
@needs_progress
def test_progress_is_reported_with_phases_and_counts():
    reports = []
    build_engine(*define(), progress=reports.append)
    assert any(" / " in r.phase for r in reports)
    assert all(0 <= r.done <= max(r.total, r.done) for r in reports)
    first = [r for r in reports if r.phase == reports[0].phase]
    done = [r.done for r in first]
    assert done == sorted(done) and done[0] == 0 and done[-1] > 1


@needs_builder
@needs_progress
def test_an_error_in_the_progress_function_comes_out_of_the_build():
    def fail(report):
        raise ValueError("no terminal")

    with pytest.raises(ValueError, match="no terminal"):
        build_engine(*define(), progress=fail)
    assert len(build_engine(*define())) > 1000


@needs_builder
@needs_progress
def test_ctrl_c_cancels_and_leaves_everything_usable():
    before = signal.getsignal(signal.SIGINT)
    builder, network = define()
    seen = []

    def press(report):
        seen.append(report)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(builder, network, progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    complete = []
    assert len(build_engine(builder, network, progress=complete.append)) > 1000
    assert len(seen) < len(complete)


@needs_builder
def test_builds_in_a_thread():
    sizes = []
    thread = threading.Thread(target=lambda: sizes.append(len(build_engine(*define()))))
    thread.start()
    thread.join(60)
    assert sizes and sizes[0] > 1000


# --- description and file ------------------------------------------------------------------------


@needs_builder
def test_description_from_the_definition():
    options = BuildOptions(profiles=RANGE)
    found = describe(network_specs(define(-1)[1], options), None, {"tree": [1, None]})
    assert found["inputs"][0] == {
        "name": "x", "is_input": True, "dtype": "float32", "shape": (-1, 3), "on_host": False,
        "ranges": (((1, 3), (2, 3), (4, 3)),),
    }  # fmt: skip
    assert [s["name"] for s in found["outputs"]] == ["sum"]
    assert found["library"] == trt_api.version() and found["gpu"] is None
    assert found["extra"] == {"tree": [1, None]}


@pytest.fixture
def engine_file(tmp_path):
    path = tmp_path / "a.engine"
    description = {"library": "tensorrt 1", "gpu": None, "inputs": [], "outputs": []}
    container.write(path, {**description, "extra": {"n": 3}}, b"plan" * 100)
    return path


def test_file_round_trip(engine_file):
    description, plan = container.read(engine_file)
    assert description["extra"] == {"n": 3} and bytes(plan) == b"plan" * 100


@pytest.mark.parametrize("size", [0, 5, 20, 60, 200, -33, -1])
def test_a_truncated_file_is_refused(engine_file, size):
    engine_file.write_bytes(engine_file.read_bytes()[:size])
    with pytest.raises(EngineFileError, match="damaged|not a torch2trt engine"):
        container.read(engine_file)


def test_every_flipped_bit_is_noticed(engine_file):
    good = engine_file.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        engine_file.write_bytes(bad)
        with pytest.raises(EngineFileError):
            container.read(engine_file)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"ftrt" + bytes(1000))
    with pytest.raises(EngineFileError, match="not a torch2trt engine"):
        container.read(path)


@no_gpu
def test_loading_without_a_gpu_says_so(engine_file):
    with pytest.raises(BackendUnavailableError, match="simulate"):
        Engine.load(engine_file)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomic(path, [b"old"])

    def parts():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomic(path, parts())
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_files_are_as_readable_as_any_other(tmp_path):
    write_atomic(tmp_path / "f", [b"x"])
    (tmp_path / "g").write_bytes(b"x")
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "fg"]
    assert mode[0] == mode[1]
