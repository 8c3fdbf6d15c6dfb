"""Which spare processes are asked for, whatever becomes of those asked for before."""

from collections import Counter

import pytest

from actors import preload
from actors.preload import MODULES, VARIABLE, Kind, environment
from actors.spares import BIRTH_MS, Roster
from sep_ray.kernel.clock import Millis

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


class Context:
    def get_node_id(self):
        return "a-node"
