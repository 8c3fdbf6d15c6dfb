"""A short run of the policy fuzz, and proof that it sees what it is to see (P9, P10)."""

from dataclasses import replace

import pytest

from sep_ray.engine.entitling import Entitlement
from sep_ray.engine.gate import GuardedSigner
from sep_ray.journal.standing import Standing
from tests.simulation.policy_fuzz import Fuzz, report


@pytest.mark.parametrize("seed", [1, 2])
async def test_p9_p10_nothing_is_signed_or_durable_outside_the_limits(seed):
    fuzz = Fuzz(seed, 1_500)
    await fuzz.run()
    assert fuzz.judge.faults == [], report(fuzz)
    assert fuzz.seen["durable"], report(fuzz)
    assert fuzz.seen["meddling refused"], report(fuzz)
    assert fuzz.seen["lost the race"], report(fuzz)
    assert fuzz.seen["window_limit"] + fuzz.seen["gas_budget"] > 100, report(fuzz)


async def test_the_judge_sees_a_journal_that_does_not_count(monkeypatch):
    honest = Standing._limited

    def unbounded(self, commit, idle):
        free = tuple(replace(share, bound=None) for share in commit.reservations)
        return honest(self, replace(commit, reservations=free), idle)

    monkeypatch.setattr(Standing, "_limited", unbounded)
    fuzz = Fuzz(1, 1_500)
    await fuzz.run()
    assert fuzz.judge.faults


async def test_the_judge_sees_signatures_whose_shares_are_not_booked_yet(monkeypatch):
    async def later(self, lane, shares, version):
        return True

    monkeypatch.setattr(Entitlement, "_book", later)
    fuzz = Fuzz(1, 1_500)
    await fuzz.run()
    assert fuzz.judge.faults


async def test_the_judge_sees_a_signer_that_signs_anything(monkeypatch):
    monkeypatch.setattr(GuardedSigner, "_require", lambda self, fields: None)
    fuzz = Fuzz(1, 300)
    await fuzz.run()
    assert "signed what was not cleared" in fuzz.judge.faults
