"""`python -m sep_ray.devnet.faults --upstream URL --port 0`: says where it listens, then serves."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from sep_ray.devnet.faults.process import die_with
from sep_ray.devnet.faults.proxy import FaultProxy


async def serve(options: argparse.Namespace) -> None:
    """Run until a signal."""
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    async with FaultProxy(
        options.upstream,
        seed=options.seed,
        port=options.port,
        strict_replacement=options.strict_replacement,
    ) as proxy:
        sys.stdout.write(f"Listening on 127.0.0.1:{proxy.port}\n")
        sys.stdout.flush()
        await ended.wait()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="sep_ray.devnet.faults", description=__doc__)
    parser.add_argument("--upstream", required=True, help="HTTP address of the real node")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict-replacement", action="store_true", help="geth's 10 % rule")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="ends with this process")
    options = parser.parse_args()
    die_with(options.parent)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
