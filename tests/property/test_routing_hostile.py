"""Markets that no honest chain has: absurd reserves, prices, fees and amounts, all answered."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sep_ray.routing.pools.v3_math import MAX_TICK, sqrt_ratio_at_tick
from sep_ray.routing.snapshot_file import read_snapshot
from serve_app.cli_route import Question, answer_to

MARKETS = 12
USED_UP = Path(__file__).resolve().parents[1] / "data" / "market_used_up.json"


def absurd(chance: random.Random) -> int:
    return chance.randint(0, 10 ** chance.randint(0, 33))


def pair(chance: random.Random) -> dict[str, object]:
    reserve = min(absurd(chance), 2**112 - 1)
    other = chance.choice([reserve, min(absurd(chance), 2**112 - 1)])
    fee = chance.choice([0, 1, 30, 9_999])
    return {"kind": "v2", "reserve0": str(reserve), "reserve1": str(other), "fee_bps": fee}


def ticked(chance: random.Random) -> dict[str, object]:
    spacing = chance.choice([1, 10, 60, 200])
    tick = chance.choice([chance.randint(-300, 300), chance.randint(-880_000, 880_000)])
    edge = MAX_TICK // spacing
    net: dict[int, int] = {}
    for _ in range(chance.randint(0, 5)):
        lower = max(tick // spacing - chance.randint(0, 40), -edge)
        upper = min(lower + chance.randint(1, 80), edge)
        liquidity = absurd(chance) + 1
        net[lower * spacing] = net.get(lower * spacing, 0) + liquidity
        net[upper * spacing] = net.get(upper * spacing, 0) - liquidity
    return {
        "kind": chance.choice(["v3", "v4"]),
        "fee": chance.choice([0, 100, 3_000, 999_999]),
        "tick_spacing": spacing,
        "sqrt_price_x96": str(sqrt_ratio_at_tick(tick) + chance.choice([0, 1])),
        "tick": tick,
        "liquidity": str(sum(units for at, units in net.items() if at <= tick)),
        "ticks": [[at, str(units), str(abs(units))] for at, units in net.items()],
    }


def hostile(chance: random.Random) -> str:
    tokens = [f"0x{number:040x}" for number in range(1, chance.randint(3, 8))]
    pools = []
    for number in range(chance.randint(0, 14)):
        token0, token1 = sorted(chance.sample(tokens, 2))
        pool = chance.choice([pair, ticked])(chance)
        pools.append(pool | {"address": f"0x{number:040x}", "token0": token0, "token1": token1})
    named = [{"address": token, "symbol": f"T{token[-1]}", "decimals": 18} for token in tokens]
    content = {"chain_id": 1, "block": 1, "base_fee_wei": 10**9, "tokens": named, "pools": pools}
    return json.dumps(content)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_market_there_is_an_exact_answer_or_a_reason(seed):
    chance = random.Random(seed)
    for _ in range(MARKETS):
        market = read_snapshot(hostile(chance))
        names = [token.asset.address for token in market.snapshot.tokens]
        for _ in range(3):
            sold, bought = chance.sample(names, 2)
            asked = Question(
                sold=sold,
                bought=bought,
                amount=chance.randint(0, 10 ** chance.choice([1, 6, 18, 24, 77])),
                exact_out=chance.random() < 0.4,
                splits=chance.choice([1, 2, 16]),
                hops=chance.choice([1, 2, 3, 4]),
                gas_price=chance.choice([0, 10**9, 10**12]),
            )
            answer = answer_to(market, asked)
            if "reason" in answer:
                assert answer["paths"] == []
                continue
            paths = answer["paths"]
            assert sum(int(path["amount_in"]) for path in paths) == int(answer["amount_in"])
            assert sum(int(path["amount_out"]) for path in paths) == int(answer["amount_out"]) > 0
            assert int(answer["amount_out"]) <= int(answer["upper_bound"])


def test_the_bound_holds_where_a_circle_uses_a_pool_up():
    """Drawn at random once: what a pool gives for a token that has become worthless counted."""
    market = read_snapshot(USED_UP.read_text())
    sold, bought = market.snapshot.tokens[2].asset.address, market.snapshot.tokens[0].asset.address
    answer = answer_to(market, Question(sold, bought, 739391128299024491276744, False, 2, 4, 0))
    assert int(answer["upper_bound"]) >= int(answer["amount_out"]) > 0
