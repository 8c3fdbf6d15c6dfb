"""What the oracle's market does between rounds: positions come, prices move. Real contracts."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from sep_ray.adapters.evm.addresses import BOOKS
from sep_ray.devnet.chains import Chains
from sep_ray.devnet.funding import act_as_bank, fund
from sep_ray.devnet.market import FOREVER, position_ticks
from sep_ray.devnet.market import Pool as Listed
from sep_ray.devnet.market_v4 import provide_v4
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import GAS, Rpc, call_data
from sep_ray.devnet.trading import DrivenChain, approvals, swap
from sep_ray.kernel.units import ChainId
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.snapshot import Snapshot

TRADER: Final = "0x" + keccak(text="sep-ray oracle trader")[-20:].hex()
POSITIONS: Final = 12
TRADES: Final = 12
RECORDED: Final = "mainnet_pools_19_serialized_state.json"
_BESIDE: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
_MINT: Final = (
    "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
)
_WEALTH: Final = {
    "ETH": 10**24,
    "WETH": 10**24,
    "USDC": 10**16,
    "USDT": 10**16,
    "WBTC": 10**15,
    "DAI": 10**28,
}


def files_of_pools(folder: Path | None) -> Path | None:
    """Return the file of recorded mainnet pools beside the repository, if there is one."""
    data = folder or Path(os.environ.get("SEP_DATA_DIR", _BESIDE))
    found = data / "onchain" / RECORDED
    return found if found.is_file() else None


class Mover:
    """Adds positions to the pools of one chain and trades in them."""

    def __init__(self, chains: Chains, chain_id: ChainId) -> None:
        self.book = BOOKS[chain_id]
        self.rpc = Rpc(chains.endpoints[chain_id].http)
        self._pools = {pool.address: pool for pool in chains.pools[chain_id]}
        self._chain = DrivenChain(rpc=self.rpc, book=self.book, pools=tuple(chains.pools[chain_id]))
        fund(self.rpc, self.book, TRADER, _WEALTH)
        self.rpc("anvil_impersonateAccount", TRADER)
        self.rpc.transact(approvals(self._chain, TRADER, list(_WEALTH)[1:]))

    def close(self) -> None:
        """Drop the connection."""
        self.rpc.close()

    def move(self, snapshot: Snapshot, chance: random.Random) -> None:
        """Mint positions around and beside prices, and trade a few percent of some pools."""
        act_as_bank(self.rpc)
        with_ticks = [pool for pool in snapshot.pools if isinstance(pool, V3Pool)]
        minted = [self._mint(chance.choice(with_ticks), chance) for _ in range(POSITIONS)]
        self.rpc.transact(minted)
        for _ in range(TRADES):
            pool = chance.choice(snapshot.pools)
            token = chance.choice([pool.token0, pool.token1])
            amount = pool.depth(token) * chance.randint(1, 40) // 1_000
            order = swap(self._chain, self._listed(pool), TRADER, token, amount)
            self.rpc.transact([order | {"gas": hex(GAS)}])

    def _listed(self, pool: Pool) -> Listed:
        return self._pools[pool.address]

    def _mint(self, pool: V3Pool, chance: random.Random) -> dict[str, Any]:
        spacing = pool.tick_map.spacing
        centre = pool.tick + chance.choice([-300, -20, 0, 0, 20, 300]) * spacing
        ticks = position_ticks(centre, chance.choice([1, 40, 400, 6_000]), spacing)
        share = chance.randint(200, 5_000)
        amounts = (pool.depth(pool.token0) // share, pool.depth(pool.token1) // share)
        tokens = (pool.token0, pool.token1)
        if pool.venue is Venue.UNISWAP_V4:
            ranges = [(ticks, amounts)]
            return provide_v4(self.book, tokens, pool.fee_ppm, pool.sqrt_price, ranges)
        order = (*tokens, pool.fee_ppm, *ticks, *amounts, 0, 0, BANK, FOREVER)
        return {"from": BANK, "to": self.book.v3_positions, "data": call_data(_MINT, order)}
