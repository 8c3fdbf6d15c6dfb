"""Kills a real strategy actor again and again while its market moves; run by a test.

Ray reads its variables when it is imported, so this is a process of its own:
`python -m tests.ray.strategy_drill RESULT`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray

from actors.strategy_actor import start_strategy_actor
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, TOKENS
from sep_ray.adapters.postgres import PostgresStore
from sep_ray.engine.enrolment import Enrolment
from sep_ray.journal.records import IntentFilter, Tick
from sep_ray.kernel.clock import SystemClock
from sep_ray.strategy.runner import Saved
from sep_ray.strategy.tokens import Tokens
from tests.simulation.test_strategies_host import DIARY, PAIR

STRATEGIES = ("one", "two", "three")
KILLS = 3
BLOCKS_EACH = 20
CHEAP = 1_900


def main(result: str) -> None:
    """Write what is left of the strategies to a file."""
    os.environ["SEP_STRATEGIES_PER_ACTOR"] = "10"
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
        namespace="sep",
    )
    try:
        Path(result).write_text(json.dumps(asyncio.run(drill())))
    finally:
        ray.shutdown()


async def drill() -> dict[str, Any]:
    clock = SystemClock()
    store = await PostgresStore.connect(os.environ["SEP_POSTGRES_URL"], clock=clock)
    enrolment = Enrolment(store, store, Tokens(TOKENS.values()))
    for name in STRATEGIES:
        await enrolment.start(
            name,
            source="d.py:Diary",
            code=DIARY,
            params=json.dumps({**PAIR, "buy_at": CHEAP}),
            principal="drill",
            at=clock.now(),
        )
    actor: Any = start_strategy_actor("strategies-0")
    pids = [await working(actor, None)]
    block = 0
    for _ in range(KILLS):
        for _ in range(BLOCKS_EACH):
            block += 1
            await store.record_ticks([tick(block, clock)])
            await asyncio.sleep(0.02)
        os.kill(pids[-1], signal.SIGKILL)
        for _ in range(BLOCKS_EACH):
            block += 1
            await store.record_ticks([tick(block, clock)])
            await asyncio.sleep(0.02)
        pids.append(await working(actor, pids[-1]))
    await settled(store, block)
    left = {name: await remains(store, name) for name in STRATEGIES}
    await store.close()
    return {"strategies": left, "pids": pids, "blocks": block}


def tick(block: int, clock: SystemClock) -> Tick:
    low, high = sorted(BOOKS[ETHEREUM].token(name).asset for name in ("WETH", "USDC"))
    price = (10**18, CHEAP * 10**6)
    numerator, denominator = price if high == BOOKS[ETHEREUM].token("WETH").asset else price[::-1]
    return Tick(
        chain_id=ETHEREUM,
        base=low,
        quote=high,
        block_number=block,
        at=clock.now(),
        numerator=numerator,
        denominator=denominator,
    )


async def working(actor: Any, not_pid: int | None) -> int:
    """Wait until a process other than `not_pid` runs all strategies; return its id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            status = await actor.status.remote()
            running = [each["working"] for each in status.get("strategies", {}).values()]
            if running == [True] * len(STRATEGIES) and status["pid"] != not_pid:
                return int(status["pid"])
        except ray.exceptions.RayError:
            pass  # it is being restarted
        await asyncio.sleep(0.1)
    raise TimeoutError("the strategies do not work")


async def settled(store: PostgresStore, block: int) -> None:
    """Wait until the last block was seen and what was decided on it is handed in.

    A decision is durable in the state first, and handed in right after (P4).
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        kept = [await store.load_state(name) for name in STRATEGIES]
        saved = [Saved.read(row[0]) for row in kept if row]
        decided = [intent.id for each in saved for intent in each.outbox]
        if (
            len(saved) == len(STRATEGIES)
            and all(each.state["blocks"][-1:] == [block] for each in saved)
            and len(await store.intents(decided)) == len(decided)
        ):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the strategies have not come to the end of the last block")


async def remains(store: PostgresStore, name: str) -> dict[str, Any]:
    kept = await store.load_state(name)
    assert kept is not None
    page = await store.page_of_intents(IntentFilter(strategy_id=name), None, 10_000)
    state = Saved.read(kept[0]).state
    return {
        "blocks": state["blocks"],
        "submitted": state["submitted"],
        "intents": [str(record.intent.id) for record in reversed(page)],
    }


if __name__ == "__main__":
    main(sys.argv[1])
