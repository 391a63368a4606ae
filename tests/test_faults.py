"""What may happen while files are written: killed writers, full disks, processes at once."""

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import simulated_engine
import torch
from torch import nn

from torch2trt import TensorRTModuleWrapper, container, files
from torch2trt.backends import trt_api
from torch2trt.cache import EngineCache, cache_key
from torch2trt.container import EngineFileError
from torch2trt.files import write_atomic

needs_rtx = pytest.mark.skipif(
    not trt_api.available() or not trt_api.is_rtx(),
    reason="only TensorRT-RTX builds engines without a GPU",
)
ROOT = Path(__file__).parent.parent
KEY = cache_key("graph")


# --- several processes with real engines ---------------------------------------------------------


class Process:
    """A ``cache_process.py`` that is ready."""

    def __init__(self, folder, what="plain"):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cache_process", str(folder), what], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_ready(self):
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        return self

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def result(self):
        """What it wrote last, and its warnings."""
        out, warnings = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, warnings
        return json.loads(out.splitlines()[-1]), warnings

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def start(tmp_path):
    """Start processes that share a cache; all are gone after the test."""
    started = []

    def start(*whats):
        new = [Process(tmp_path / "cache", what) for what in whats]
        started.extend(new)
        return [process.wait_ready() for process in new]

    yield start
    for process in started:
        process.kill()


@needs_rtx
def test_two_processes_with_one_key_build_one_engine(start, tmp_path):
    processes = start("plain", "plain")
    for process in processes:
        process.go()
    (one, _), (two, _) = (process.result() for process in processes)
    assert sorted([one["built"], two["built"]]) == [0, 1]
    assert one["plan"] == two["plan"]
    assert len(list((tmp_path / "cache").glob("*.engine"))) == 1


@needs_rtx
def test_a_process_killed_while_it_writes_an_entry_leaves_nothing(start, tmp_path):
    folder = tmp_path / "cache"
    stalled, waiting, later = start("stall", "plain", "plain")
    stalled.go()
    assert stalled.process.stdout.readline() == "half\n"
    (half,) = folder.glob(".*.tmp")
    assert half.stat().st_size > 0 and list(folder.glob("*.engine")) == []
    waiting.go()
    time.sleep(1)
    assert waiting.process.poll() is None, "it did not wait for the process that builds"
    stalled.kill()
    built, warnings = waiting.result()
    assert built["built"] == 1 and "warning" not in warnings.lower()
    assert not half.exists() and list(folder.glob(".*.tmp")) == []
    (entry,) = folder.glob("*.engine")
    assert entry.stat().st_size > len(container.read(entry)[1]) > 1000
    later.go()
    assert later.result()[0] == {"built": 0, "plan": built["plan"]}


@needs_rtx
def test_a_disk_without_room_costs_the_entry_and_a_warning(start, tmp_path):
    full, roomy = start("full", "plain")
    full.go()
    built, warnings = full.result()
    assert built["built"] == 1
    assert "was not stored in the cache" in warnings and "File too large" in warnings
    assert list((tmp_path / "cache").glob("*.engine")) == []
    assert list((tmp_path / "cache").glob(".*.tmp")) == []
    roomy.go()
    assert roomy.result()[0]["built"] == 1


# --- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """New temporary files take no byte: the kernel says so at each write."""
    real = os.open

    def opened(path, flags, *rest, **options):
        if not str(path).endswith(".tmp"):
            return real(path, flags, *rest, **options)
        os.close(real(path, flags, *rest, **options))
        return real("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(files.os, "open", opened)


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@needs_dev_full
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / "a.engine"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=f"No space left on device: '{path}'") as caught:
        container.write(path, {}, bytes(100_000))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.engine"]


@needs_dev_full
@pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")
def test_a_module_runs_though_its_cache_is_full(tmp_path, full_disk, monkeypatch, caplog):
    machine = simulated_engine.install(monkeypatch)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).eval(), torch.randn(2, 3)
    wrapped = TensorRTModuleWrapper(net, 2, cache=tmp_path)
    with caplog.at_level(logging.WARNING, "torch2trt.cache"):
        torch.testing.assert_close(wrapped(x), net(x).detach())
    assert len(machine.builds) == 1
    assert "No space left on device" in caplog.text and list(tmp_path.glob("*.engine")) == []


@pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")
@pytest.mark.parametrize("refused", [1, 9])
def test_an_entry_that_tensorrt_refuses_is_built_again_once(
    tmp_path, monkeypatch, caplog, refused
):
    machine = simulated_engine.install(monkeypatch)
    net, x = nn.Linear(3, 4).eval(), torch.randn(2, 3)
    TensorRTModuleWrapper(net, 2, cache=tmp_path)(x)
    start, starts = machine.start, []

    def refuse(*args):
        starts.append(args)
        if len(starts) <= refused:
            raise EngineFileError("TensorRT does not accept the plan")
        start(*args)

    machine.start = refuse
    wrapped = TensorRTModuleWrapper(net, 2, cache=tmp_path)
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        if refused == 1:
            torch.testing.assert_close(wrapped(x), net(x).detach())
        else:
            with pytest.raises(EngineFileError, match="does not accept the plan"):
                wrapped(x)
    assert len(machine.builds) == 2 and len(starts) == 2
    assert caplog.text.count("will be built again") == 1


def test_a_folder_that_is_not_there_is_named_and_not_the_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(tmp_path / "no" / "a.engine", [b"x"])
    assert caught.value.filename == str(tmp_path / "no" / "a.engine")


def _write_for_ever(folder):
    for number in range(10**9):
        container.write(Path(folder) / "a.engine", {"n": number}, bytes([number % 256]) * 2_000_000)


def test_writers_killed_at_any_time_never_leave_half_a_file(tmp_path):
    path, numbers = tmp_path / "a.engine", []
    for turn in range(12):
        writer = multiprocessing.get_context("fork").Process(
            target=_write_for_ever, args=(tmp_path,)
        )
        writer.start()
        time.sleep(0.02 + 0.013 * turn)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(30)
        if path.exists():
            description, plan = container.read(path)
            assert bytes(plan) == bytes([description["n"] % 256]) * 2_000_000
            numbers.append(description["n"])
    assert numbers
    container.write(path, {"n": -1}, b"")
    assert [p.name for p in tmp_path.iterdir()] == ["a.engine"]


def test_a_file_that_is_being_written_is_no_leftover(tmp_path):
    half, go_on = threading.Event(), threading.Event()

    def parts():
        yield b"slow"
        half.set()
        go_on.wait(30)

    slow = threading.Thread(target=write_atomic, args=(tmp_path / "f", parts()))
    slow.start()
    assert half.wait(30)
    write_atomic(tmp_path / "f", [b"quick"])
    assert (tmp_path / "f").read_bytes() == b"quick"
    go_on.set()
    slow.join(30)
    assert (tmp_path / "f").read_bytes() == b"slow" and len(list(tmp_path.iterdir())) == 1


def test_an_entry_of_another_key_is_built_again(tmp_path, caplog):
    cache, other = EngineCache(tmp_path), cache_key("other graph")
    cache.load_or_build(other, lambda: ({"extra": {}}, b"other"))
    cache.path(other).rename(cache.path(KEY))
    with caplog.at_level(logging.WARNING, "torch2trt.cache"):
        found, plan = cache.load_or_build(KEY, lambda: ({"extra": {}}, b"own"))
    assert bytes(plan) == b"own" and found == {"extra": {}}
    assert f"was made for the key {other}" in caplog.text
    assert cache.load_or_build(KEY, pytest.fail)[0] == {"extra": {}}
