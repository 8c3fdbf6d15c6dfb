"""Run the policy fuzz of tests/simulation at length: `make policy-fuzz SEED=n INTENTS=n`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import structlog

from tests.simulation.policy_fuzz import Fuzz, report

EVERY_S = 5.0


def main() -> int:
    """Run; 0 when nothing durable was outside the limits and nothing was signed uncleared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--intents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    fuzz, began, said = Fuzz(given.seed, given.intents), time.monotonic(), 0.0

    def say() -> None:
        nonlocal said
        passed = time.monotonic() - began
        if passed - said >= EVERY_S:
            said = passed
            done = given.intents - fuzz.left
            print(f"{passed:6.0f} s  {done} of {given.intents} intents", flush=True)

    print(f"policy fuzz: seed {given.seed}, {given.intents} intents", flush=True)
    asyncio.run(fuzz.run(say))
    print(report(fuzz))
    for fault in fuzz.judge.faults[:10]:
        print(fault)
    verdict = "FAILED" if fuzz.judge.faults else "ok"
    print(f"policy fuzz: {verdict}, seed {given.seed}, {time.monotonic() - began:.0f} s")
    return 1 if fuzz.judge.faults else 0


if __name__ == "__main__":
    sys.exit(main())
