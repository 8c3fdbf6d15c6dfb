"""Which spare processes are asked for, whatever becomes of those asked for before."""

from collections import Counter

from actors.preload import MODULES, VARIABLE, Kind, environment, preload
from actors.spares import BIRTH_MS, Roster
from sep_ray.kernel.clock import Millis

WANTED = {Kind.ENGINE: 2, Kind.STRATEGY: 1}


def grown(roster, idle, now):
    """Let every process come that is asked for; return all that wait, by kind."""
    asked = Counter()
    while (kind := roster.ask(idle, now)) is not None:
        asked[kind] += 1
        idle.append(max(idle, default=0) + 1)
    return asked


def test_asks_for_one_after_the_other_until_all_are_there():
    roster = Roster(WANTED)
    assert roster.ask([], Millis(0)) is Kind.ENGINE
    assert roster.ask([], Millis(BIRTH_MS)) is None
    assert roster.ask([7], Millis(BIRTH_MS)) is Kind.STRATEGY  # none of it before a second engine
    assert roster.ask([7, 8], Millis(BIRTH_MS)) is Kind.ENGINE
    assert roster.ask([7, 8, 9], Millis(BIRTH_MS)) is None


def test_replaces_what_was_taken_by_its_kind():
    for place, kind in enumerate((Kind.ENGINE, Kind.STRATEGY, Kind.ENGINE)):
        roster, idle = Roster(WANTED), []
        assert grown(roster, idle, Millis(0)) == WANTED
        del idle[place]
        assert roster.ask(idle, Millis(1)) is kind


def test_asks_again_for_one_that_never_came():
    roster = Roster({Kind.ENGINE: 1})
    roster.ask([], Millis(0))
    assert roster.ask([], Millis(BIRTH_MS + 1)) is Kind.ENGINE


def test_none_wanted_none_asked_for():
    assert Roster({Kind.ENGINE: 0, Kind.STRATEGY: 0}).ask([], Millis(0)) is None


def test_p11_a_process_imports_what_its_kind_needs_and_no_more(monkeypatch):
    imported = []
    monkeypatch.setattr("importlib.import_module", imported.append)
    for kind in Kind:
        imported.clear()
        monkeypatch.setenv(VARIABLE, environment(kind)["env_vars"][VARIABLE])
        preload()
        assert tuple(imported) == MODULES[kind]
    imported.clear()
    monkeypatch.delenv(VARIABLE)
    preload()
    assert not imported
