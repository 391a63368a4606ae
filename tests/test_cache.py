"""The engine cache: keys, faults, several processes, the size limit."""

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from torch2trt import cache as cache_module
from torch2trt import container
from torch2trt.cache import EngineCache, cache_key, default_folder

KEY = cache_key("graph", "weights")


def builder(calls, text=b"plan"):
    def build():
        calls.append(text)
        return {"extra": {"n": len(calls)}}, text

    return build


def test_builds_once_then_loads(tmp_path):
    calls = []
    for _ in range(3):
        description, plan = EngineCache(tmp_path).load_or_build(KEY, builder(calls))
        assert bytes(plan) == b"plan" and description["extra"] == {"n": 1}
    assert len(calls) == 1


def test_keys_depend_on_every_part_and_on_where_it_ends():
    keys = [cache_key(*p) for p in (("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""))]
    assert len(set(keys)) == 4 and cache_key("ab", "c") == keys[0]


def test_two_keys_are_two_entries(tmp_path):
    calls, cache = [], EngineCache(tmp_path)
    for name in ("a", "b", "a"):
        _, plan = cache.load_or_build(cache_key(name), builder(calls, name.encode()))
        assert bytes(plan) == name.encode()
    assert calls == [b"a", b"b"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty"])
def test_a_damaged_entry_is_built_again_with_a_warning(tmp_path, caplog, damage):
    calls, cache = [], EngineCache(tmp_path)
    cache.load_or_build(KEY, builder(calls))
    good = cache.path(KEY).read_bytes()
    bad = {
        "truncated": good[:-5],
        "flipped": good[:50] + bytes([good[50] ^ 1]) + good[51:],
        "foreign": b"#!/bin/sh\n" * 20,
        "empty": b"",
    }[damage]
    cache.path(KEY).write_bytes(bad)
    with caplog.at_level(logging.WARNING, "torch2trt.cache"):
        _, plan = cache.load_or_build(KEY, builder(calls, b"again"))
    assert bytes(plan) == b"again" and len(calls) == 2 and "built again" in caplog.text
    assert bytes(container.read(cache.path(KEY))[1]) == b"again"


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path):
    cache = EngineCache(tmp_path)

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.load_or_build(KEY, fail)
    assert list(tmp_path.glob("*.engine")) == []
    assert bytes(cache.load_or_build(KEY, builder([]))[1]) == b"plan"


def test_a_full_disk_costs_the_entry_only(tmp_path, caplog, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.container, "write", full)
    with caplog.at_level(logging.WARNING, "torch2trt.cache"):
        _, plan = EngineCache(tmp_path).load_or_build(KEY, builder([]))
    assert plan == b"plan" and "No space left" in caplog.text


def test_a_folder_that_cannot_be_made_costs_the_cache_only(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "torch2trt.cache"):
        _, plan = EngineCache(tmp_path / "file" / "sub").load_or_build(KEY, builder([]))
    assert plan == b"plan" and "cannot be used" in caplog.text


def test_the_oldest_entries_go_when_there_are_too_many(tmp_path):
    cache = EngineCache(tmp_path, max_bytes=3500)
    keys = [cache_key(str(n)) for n in range(5)]
    for age, key in enumerate(keys):
        cache.load_or_build(key, builder([], bytes(1000)))
        os.utime(cache.path(key), (time.time() - 100 + age,) * 2)
    kept = [key for key in keys if cache.path(key).exists()]
    assert kept == keys[-len(kept) :] and 2 <= len(kept) <= 3


def test_loading_makes_an_entry_young_again(tmp_path):
    cache = EngineCache(tmp_path, max_bytes=2500)
    old, new = cache_key("old"), cache_key("new")
    for key, age in ((old, 100), (new, 50)):
        cache.load_or_build(key, builder([], bytes(1000)))
        os.utime(cache.path(key), (time.time() - age,) * 2)
    cache.load_or_build(old, builder([]))
    cache.load_or_build(cache_key("third"), builder([], bytes(1000)))
    assert cache.path(old).exists() and not cache.path(new).exists()


def test_an_entry_larger_than_the_limit_is_still_kept(tmp_path):
    cache = EngineCache(tmp_path, max_bytes=10)
    cache.load_or_build(KEY, builder([], bytes(1000)))
    assert cache.path(KEY).exists()


def test_what_killed_writers_of_any_entry_left_is_cleaned_up(tmp_path):
    left = [tmp_path / f".{name}.engine.1.tmp" for name in "xy"]
    for path in left:
        path.write_bytes(b"half")
    EngineCache(tmp_path).load_or_build(KEY, builder([]))
    assert not any(path.exists() for path in left)


def test_default_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("TORCH2TRT_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("TORCH2TRT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder() == Path("/xdg/torch2trt")


def _build_in_process(folder, log, seconds):
    def build():
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(seconds)
        return {"extra": {}}, b"x" * 1000

    _, plan = EngineCache(folder).load_or_build(KEY, build)
    if bytes(plan) != b"x" * 1000:
        os._exit(3)


def _spawn(*args):
    process = multiprocessing.get_context("fork").Process(target=_build_in_process, args=args)
    process.start()
    return process


def test_two_processes_with_one_key_build_once(tmp_path):
    log = tmp_path / "log"
    processes = [_spawn(tmp_path / "c", log, 0.5) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    assert log.read_text() == "built\n"


def test_a_builder_that_is_killed_lets_the_next_one_build(tmp_path):
    log = tmp_path / "log"
    killed = _spawn(tmp_path / "c", log, 60)
    deadline = time.time() + 30
    while not (log.exists() and log.read_text()) and time.time() < deadline:
        time.sleep(0.01)
    waiting = _spawn(tmp_path / "c", log, 0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join(30)
    waiting.join(30)
    assert waiting.exitcode == 0 and log.read_text() == "built\nbuilt\n"
