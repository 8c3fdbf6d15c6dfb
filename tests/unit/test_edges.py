"""What swaps cost in the joint choice: what routing would get, never less than the best pool."""

from __future__ import annotations

from sep_ray.engine.appraisal import ChainView
from sep_ray.engine.edges import swap_edges
from sep_ray.intent.intent import Constraints
from sep_ray.kernel.units import PPM, Ppm
from sep_ray.routing.pools.pool import Pool
from tests.fixtures.market import A, B, C, asset, snapshot, v2_pool

BOUNDS = Constraints(max_slippage=Ppm(10_000), time_window_ms=60_000)
UNITS = 10**21


def loss_ppm(*pools: Pool) -> int | None:
    """Return what selling UNITS of A for B loses by its edge, None where there is none."""
    market = snapshot(*pools, native=A)
    view = ChainView(snapshot=market, numeraire=asset(B), usual_base_fee_wei=1.0)
    ends = [asset(A), asset(B)]
    edges = swap_edges({market.chain_id: view}, ends, {ends[0]: UNITS}, BOUNDS)
    return edges[0].running(UNITS) * PPM // UNITS if edges else None


def test_a_way_over_a_third_token_counts() -> None:
    through = (
        v2_pool(10**24, 10**24, token0=A, token1=C, address="0x" + "61" * 20),
        v2_pool(10**24, 10**24, token0=B, token1=C, address="0x" + "62" * 20),
    )
    alone = loss_ppm(v2_pool(10**22, 10**22, token0=A, token1=B))
    both = loss_ppm(v2_pool(10**22, 10**22, token0=A, token1=B), *through)
    over = loss_ppm(*through)
    assert alone is not None
    assert both is not None
    assert over is not None
    assert alone > 90_000
    assert both <= over < 9_000


def test_a_split_counts() -> None:
    one = v2_pool(10**22, 10**22, token0=A, token1=B)
    two = v2_pool(10**22, 10**22, token0=A, token1=B, address="0x" + "63" * 20)
    alone, both = loss_ppm(one), loss_ppm(one, two)
    assert alone is not None
    assert both is not None
    assert both < alone * 2 // 3
