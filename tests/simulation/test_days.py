"""Simulated days on which everything goes wrong at once, and bugs that they must show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from sep_ray.simulation.bugs import BUGS
from sep_ray.simulation.day import Day
from sep_ray.simulation.runs import days, hunt, hush

SEEDS = range(60)
FOUND_SOON = {
    "sent-before-journal": 20,
    "nonce-from-memory": 60,
    "end-before-final": 20,
    "final-too-early": 150,
    "reorg-ignored": 80,
    "raised-at-new-nonce": 60,
    "audit-blind": 20,
}
"""Bugs that show early, and within how many seeds; `make sim-mutants` hunts all of them."""


@pytest.fixture(autouse=True)
def silence() -> Any:
    with hush():
        yield


def test_p1_to_p9_hold_on_every_day() -> None:
    outcomes = days(SEEDS)
    assert {o.seed: o.broken for o in outcomes if o.broken} == {}
    assert sum(o.intents for o in outcomes) > 2 * len(SEEDS)
    assert sum(o.swaps for o in outcomes) > 2 * len(SEEDS)


def test_p13_a_seed_is_the_same_day_in_every_process() -> None:
    told = {json.dumps(_in_a_process_of_its_own(hash_seed)) for hash_seed in ("1", "2")}
    assert told == {json.dumps(list(Day(11).pass_by().story))}


def _in_a_process_of_its_own(hash_seed: str) -> Any:
    command = [sys.executable, "-m", "serve_app.cli", "sim", "--seed", "11", "--json"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["story"]


@pytest.mark.parametrize("name", FOUND_SOON)
def test_a_planted_bug_is_found(name: str) -> None:
    found = hunt(name, FOUND_SOON[name])
    assert found is not None
    assert found.broken
    assert not Day(found.seed).pass_by().broken, "it was not the bug"


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_has_its_place_and_leaves_it_as_it_was(name: str) -> None:
    bug = BUGS[name]
    sound = vars(bug.owner)[bug.attribute]
    with bug.planted():
        assert vars(bug.owner)[bug.attribute] is not sound
    assert vars(bug.owner)[bug.attribute] is sound
