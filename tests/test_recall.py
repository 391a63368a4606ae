"""Programs that are found in the engine cache without a network definition, and never wrongly."""

import hashlib
import os
import time

import pytest
import torch
from torch import nn

from torch2trt import GraphModule, TensorRTModuleWrapper, container, digest, recall
from torch2trt.cache import EngineCache
from torch2trt.registry import register_node_handler, unregister_node_handler


class Net(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)
        self.factor, self.table = factor, torch.arange(4.0)

    def forward(self, x):
        return self.linear(x) * self.factor + self.table


X = torch.ones(2, 4)


@pytest.fixture(autouse=True)
def installed_code(monkeypatch):
    """As in an installed package: no source file is younger than the process."""
    monkeypatch.setattr(recall, "_IMPORTED", time.time() + 3600)
    recall._code.cache_clear()
    yield
    recall._code.cache_clear()


def key_of(net, x=X, *parts):
    graph = GraphModule(net.eval(), x)
    return recall.program_key(graph.graph, graph.trace.attribute, *parts)


def test_the_same_program_has_the_same_key():
    assert key_of(Net()) == key_of(Net()) is not None


def _other_weight(net):
    with torch.no_grad():
        net.linear.weight[3, 3] = torch.nextafter(net.linear.weight[3, 3], torch.tensor(9.0))


def _minus_zero(net):
    net.table[0] = -0.0


def _other_constant(net):
    net.table[2] += 1


CHANGES = {
    "one bit of a weight": _other_weight,
    "minus zero": _minus_zero,
    "a constant": _other_constant,
    "a number": lambda net: setattr(net, "factor", 3.0),
    "an integer in place of a float": lambda net: setattr(net, "factor", 2),
    "no bias": lambda net: setattr(net.linear, "bias", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_the_program_is_another_key(change):
    net = Net()
    before = key_of(net)
    CHANGES[change](net)
    assert None not in (before, key_of(net)) and key_of(net) != before


def test_shapes_types_and_other_parts_are_in_the_key():
    keys = [
        key_of(Net()), key_of(Net(), torch.ones(3, 4)), key_of(Net().double(), X.double()),
        key_of(Net(), X, "options"), key_of(Net(), X, "option", "s"),
    ]  # fmt: skip
    assert None not in keys and len(set(keys)) == 5


def test_settings_that_constants_are_folded_under_are_in_the_key():
    before, net = key_of(Net()), Net()
    torch.set_default_dtype(torch.float64)
    try:
        assert key_of(net) not in (before, None)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_handler_of_the_user_has_no_key():
    register_node_handler("aten::mul")(lambda inputs, attributes, scope: [inputs[0]])
    try:
        assert key_of(Net()) is None
    finally:
        unregister_node_handler("aten::mul")
    assert key_of(Net()) is not None


def test_a_tensor_of_the_users_own_class_has_no_key():
    class Own(torch.Tensor):
        pass

    net = Net()
    net.linear.weight = nn.Parameter(torch.ones(4, 4).as_subclass(Own))
    assert key_of(net) is None


def test_changed_code_is_another_key(monkeypatch, tmp_path):
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "a.py").write_text("one")
    monkeypatch.setattr(recall, "_FOLDER", tmp_path)
    keys = []
    for text in ("one", "two", "one"):
        (tmp_path / "handlers" / "a.py").write_text(text)
        recall._code.cache_clear()
        keys.append(key_of(Net()))
    assert keys[0] == keys[2] != keys[1]


def test_code_that_changed_under_the_process_has_no_key(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("one")
    monkeypatch.setattr(recall, "_FOLDER", tmp_path)
    os.utime(tmp_path / "a.py", (recall._IMPORTED + 1,) * 2)
    assert key_of(Net()) is None


# --- the module ----------------------------------------------------------------------------------


def wrap(net, folder, **options):
    return TensorRTModuleWrapper(net.eval(), 2, cache=folder, **options)


def test_a_known_program_is_started_without_a_definition(machine, tmp_path):
    first = wrap(Net(), tmp_path)(X)
    again = wrap(Net(), tmp_path)
    assert again(X).equal(first)
    assert (len(machine.builds), machine.recalled) == (1, 1)
    program = again.latest_variant().program
    assert program.digest and set(program.hashes) == set(program.engine.weight_names())


def test_weights_that_change_after_a_recall_are_followed(machine, tmp_path):
    for refit in (None, True):
        folder, net = tmp_path / str(refit), Net()
        wrap(Net(), folder, refit=refit)(X)
        again = wrap(net, folder, refit=refit)
        again(X)
        with torch.no_grad():
            net.linear.bias.add_(1)
        torch.testing.assert_close(again(X), net(X))
    assert machine.recalled == 2


def test_other_weights_are_not_recalled(machine, tmp_path):
    for refit in (None, True):
        wrap(Net(), tmp_path, refit=refit)(X)
        other = Net()
        _other_weight(other)
        for _ in range(2):
            torch.testing.assert_close(wrap(other, tmp_path, refit=refit)(X), other(X))
    # the refittable engine keeps the first weights on disk, and is refitted each time
    assert machine.recalled == 1 and len(machine.refits) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "of another program"])
def test_a_damaged_note_costs_the_definition_only(machine, tmp_path, caplog, damage):
    wrap(Net(), tmp_path)(X)
    (alias,) = tmp_path.glob("*.alias")
    good = alias.read_bytes()
    if damage == "of another program":
        content, _ = container.read(alias)
        container.write(alias, {**content, "key": "0" * 64}, b"")
    else:
        alias.write_bytes(good[:-9] if damage == "cut" else good[:-9] + b"\0" + good[-8:])
    torch.testing.assert_close(wrap(Net(), tmp_path)(X), Net()(X))
    assert (len(machine.builds), machine.recalled) == (1, 0)
    assert ("in the long way" in caplog.text) == (damage != "of another program")
    wrap(Net(), tmp_path)(X)
    assert machine.recalled == 1


def test_a_note_without_its_entry_leads_to_a_build(machine, tmp_path):
    wrap(Net(), tmp_path)(X)
    (entry,) = tmp_path.glob("*.engine")
    entry.unlink()
    wrap(Net(), tmp_path)(X)
    assert (len(machine.builds), machine.recalled) == (2, 0)


def test_what_the_cache_cannot_know_is_not_recalled(machine, tmp_path, capsys):
    wrap(Net(), tmp_path)(X)
    wrap(Net(), tmp_path, verbose=True)(X)
    assert "linear" in capsys.readouterr().out and machine.recalled == 0
    wrap(Net(), tmp_path, builder_config_fn=lambda config: None)(X)
    assert machine.recalled == 0


def test_notes_are_removed_with_the_entries(tmp_path):
    cache = EngineCache(tmp_path, max_bytes=600)
    for number in range(4):
        key = f"{number:064}"
        cache.load_or_build(key, lambda: ({"extra": {}}, bytes(100)))
        cache.remember(key[::-1], key, {})
    assert len(list(tmp_path.glob("*.alias"))) < 4
    assert cache.recall(key[::-1])[0] == {}
    cache.remember("nobody", "missing", {})
    assert cache.recall("nobody") is None


# --- digests -------------------------------------------------------------------------------------


def test_tree_digest_is_what_it_says(monkeypatch):
    monkeypatch.setattr(digest, "_PIECE", 3)
    expected = hashlib.sha256()
    for size, pieces in ((5, (b"abc", b"de")), (0, ()), (3, (b"fgh",))):
        expected.update(size.to_bytes(8, "little"))
        expected.update(b"".join(hashlib.sha256(piece).digest() for piece in pieces))
    assert digest.tree_digest([b"abcde", b"", b"fgh"]) == expected.digest()


def test_tree_digests_differ_by_where_buffers_end():
    found = [digest.tree_digest(b) for b in ([b"abc"], [b"ab", b"c"], [b"abc", b""], [b"a", b"bc"])]
    assert len(set(found)) == 4


def test_large_plans_are_read_back_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "_PIECE", 1000)
    path, plan = tmp_path / "a.engine", bytes(range(256)) * 41
    container.write(path, {"long": "x" * 5000}, plan)
    description, found = container.read(path)
    assert bytes(found) == plan and found.readonly and len(description["long"]) == 5000
    data = path.read_bytes()
    for position in range(30, len(data), 611):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(container.EngineFileError, match="is damaged"):
            container.read(path)
