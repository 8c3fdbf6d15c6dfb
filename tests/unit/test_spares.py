"""Which spare processes are asked for, whatever becomes of those asked for before."""

from collections import Counter

import pytest
from structlog.testing import capture_logs

from actors import preload, spares
from actors.preload import MODULES, VARIABLE, Kind, environment
from actors.spares import BIRTH_MS, Roster, Spares, mend_node
from sep_ray.kernel.clock import ManualClock, Millis

WANTED = {Kind.ENGINE: 2, Kind.STRATEGY: 1}


def full(roster, now=Millis(0)):
    """Let every process come that is asked for; return all by pid."""
    kinds = {}
    while (kind := roster.ask(kinds, kinds, now)) is not None:
        kinds[len(kinds) + 1] = kind
    return kinds


def test_asks_for_one_after_the_other_until_all_are_there():
    roster = Roster(WANTED)
    assert roster.ask({}, (), Millis(0)) is Kind.ENGINE
    assert roster.ask({}, (), Millis(BIRTH_MS)) is None
    one = {7: Kind.ENGINE}
    assert roster.ask(one, one, Millis(BIRTH_MS)) is Kind.STRATEGY  # before a second engine
    two = one | {8: Kind.STRATEGY}
    assert roster.ask(two, two, Millis(BIRTH_MS)) is Kind.ENGINE
    assert roster.expecting
    three = two | {9: Kind.ENGINE}
    assert roster.ask(three, three, Millis(BIRTH_MS)) is None
    assert not roster.expecting


@pytest.mark.parametrize("pid", [1, 2, 3])
def test_replaces_what_was_taken_by_its_kind(pid):
    roster = Roster(WANTED)
    kinds = full(roster)
    assert Counter(kinds.values()) == WANTED
    assert roster.ask(kinds, kinds.keys() - {pid}, Millis(1)) is kinds[pid]


def test_one_that_is_taken_the_moment_it_comes_is_missed_at_once():
    roster = Roster({Kind.ENGINE: 1})
    roster.ask({}, (), Millis(0))
    assert roster.ask({5: Kind.ENGINE}, (), Millis(1)) is Kind.ENGINE


def test_waiting_processes_of_nobody_do_not_count():
    assert Roster({Kind.ENGINE: 1}).ask({}, (3, 4), Millis(0)) is Kind.ENGINE


def test_asks_again_for_one_that_never_came():
    roster = Roster({Kind.ENGINE: 1})
    roster.ask({}, (), Millis(0))
    assert roster.ask({}, (), Millis(BIRTH_MS + 1)) is Kind.ENGINE


def test_none_wanted_none_asked_for():
    assert Roster({Kind.ENGINE: 0, Kind.STRATEGY: 0}).ask({}, (), Millis(0)) is None


def test_a_process_imports_what_its_kind_needs_and_no_more(monkeypatch):
    imported, said = [], {}
    monkeypatch.setattr("ray.get_runtime_context", Context)
    monkeypatch.setattr("importlib.import_module", imported.append)
    monkeypatch.setattr(preload._kv, "_internal_kv_put", said.__setitem__)
    for kind in Kind:
        imported.clear()
        monkeypatch.setenv(VARIABLE, environment(kind)["env_vars"][VARIABLE])
        preload.preload()
        assert tuple(imported) == MODULES[kind]
        assert [*said.values()] == [kind]
    imported.clear()
    monkeypatch.delenv(VARIABLE)
    preload.preload()
    assert not imported


async def test_a_ray_without_the_private_calls_is_used_without_spares(monkeypatch):
    def lacking(name):
        raise ImportError("cannot import name 'init_grpc_channel'")

    monkeypatch.setattr("importlib.import_module", lacking)
    monkeypatch.setattr(spares, "_ray", None)
    with capture_logs() as said:
        kept = Spares(2, ManualClock(Millis(0)), 0)
        for _ in range(3):
            await kept.mend(taken=True)
    assert [each["event"] for each in said] == ["no_spare_processes"]


class Node:
    """A node on which a process announces itself whenever the processes are read."""

    def __init__(self, monkeypatch, *pids):
        self.pids = [*pids]
        self.asked = []
        self.said = {self.key(pid): str(Kind.ENGINE).encode() for pid in pids}
        for name, does in (("list", self.list), ("get", self.said.get), ("del", self.said.pop)):
            monkeypatch.setattr(preload._kv, f"_internal_kv_{name}", does)

    def key(self, pid):
        return f"sep-process/a-node/{pid}".encode()

    def list(self, prefix):
        return [*self.said]

    def processes(self):
        """Answer, and let the next one be born and announce itself before this is read."""
        answer = dict.fromkeys(self.pids, True)
        if self.asked and len(self.pids) < 2:
            self.pids.append(8)
            self.said[self.key(8)] = str(Kind.ENGINE).encode()
        return answer

    def prestart(self, kind):
        self.asked.append(kind)


def test_one_that_announces_itself_between_two_reads_is_not_forgotten(monkeypatch):
    node, roster = Node(monkeypatch, 7), Roster({Kind.ENGINE: 2})
    found = [mend_node(roster, "a-node", node, Millis(now)) for now in range(4)]
    assert found == [True, True, False, False]
    assert node.asked == [Kind.ENGINE]


def test_what_an_ended_process_said_is_dropped(monkeypatch):
    node = Node(monkeypatch, 7, 8)
    node.pids.remove(8)
    monkeypatch.setattr(preload._kv, "_internal_kv_del", lambda key: node.said.pop(key.encode()))
    assert mend_node(Roster({Kind.ENGINE: 2}), "a-node", node, Millis(0))
    assert [*node.said] == [node.key(7)]


class Context:
    def get_node_id(self):
        return "a-node"
