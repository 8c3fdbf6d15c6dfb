"""Random bridges, random faults: legal moves only, nothing lost, every transfer ends or asks."""

from __future__ import annotations

import random

import pytest

from sep_ray.adapters.memory.bridge import FOREVER_S, Family, Knobs
from sep_ray.settlement.following import Patience
from sep_ray.settlement.transfer import TERMINAL, TransferStatus
from tests.fixtures.bridging import DOLLAR, FAR, NEAR, assets
from tests.fixtures.two_chains import TwoChains

HELD = {NEAR: {"USDC": 50_000 * DOLLAR}, FAR: {"USDC": 50_000 * DOLLAR}}
QUIET_S = 260
"""Long enough for every patience to be over."""


def knobs(chance: random.Random) -> Knobs:
    """Draw a bridge that mostly works."""
    return Knobs(
        latency_s=chance.randint(1, 8),
        fee_ppm=chance.choice((0, 100, 5_000)),
        fee_wei=chance.choice((0, 10**15)),
        fill_s=chance.choice((10, 40)),
        refund_s=chance.randint(0, 6),
        valid_s=chance.choice((2, 30, FOREVER_S)),
        completes=chance.random() < 0.7,
        runs=chance.random() < 0.6,
        third_party=chance.random() < 0.4,
        slow_after_s=chance.choice((5, FOREVER_S)),
        other=assets(FAR)[1] if chance.random() < 0.1 else None,
    )


async def disturb(world: TwoChains, chance: random.Random) -> None:
    """Let something go wrong, or be well again."""
    chain = world.chains[chance.choice((NEAR, FAR))]
    bridge = world.bridges["twin"]
    match chance.randint(0, 9):
        case 0:
            chain.reorganise(chance.randint(1, 2), keep=chance.random() < 0.5)
        case 1:
            world.start(f"heir{chance.randint(0, 999)}")
            world.clock.advance(4_000)
        case 2:
            chain.room = chance.choice((0, 1_000))
        case 3:
            bridge.knobs.readable = not bridge.knobs.readable
        case 4:
            bridge.knobs.completes = not bridge.knobs.completes
        case 5:
            bridge.pause(FAR, chance.random() < 0.5)
        case 6:
            bridge.knobs.valid_s = chance.choice((2, FOREVER_S))
        case _:
            pass


@pytest.mark.parametrize("seed", range(10))
async def test_p8_every_transfer_ends_or_asks_and_nothing_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    world = TwoChains(
        {"twin": (chance.choice(list(Family)), knobs(chance))},
        Patience(operator_ms=60_000, claims=3),
    )
    await world.ready(HELD)
    near, far = assets(NEAR)[2], assets(FAR)[2]
    for turn in range(25):
        if turn % 5 == 0:
            ends = (near, far) if chance.random() < 0.7 else (far, near)
            await world.bridge(*ends, chance.randint(1, 5_000) * DOLLAR)
        if chance.random() < 0.5:
            await disturb(world, chance)
        await world.tick()
        await world.check(whole=False)
    for chain in world.chains.values():
        chain.room = 1_000
    world.bridges["twin"].knobs.readable = True
    for _ in range(QUIET_S // 20):
        await world.tick(20)
        await world.check(whole=False)
    for transfer in await world.transfers():
        ended = transfer.status in TERMINAL
        asks = transfer.status is TransferStatus.NEEDS_OPERATOR and transfer.detail
        assert ended or asks, transfer
    for step_id in world.steps:
        step = await world.store.step(step_id)
        assert step.status not in ("WORKING", "PENDING"), step
    await world.check()
    assert await world.store.broken_links(1) == ()
