"""Mines a local chain at its pace and saves its state.

The node could do both itself, but with a block time of two seconds or less it keeps 1,500
historical states whatever it is told (half a gigabyte), and it writes state files in place, so
that a kill in the middle leaves half a file.
"""

from __future__ import annotations

import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from sep_ray.devnet.packages import replace_file
from sep_ray.devnet.rpc import Rpc
from sep_ray.kernel.errors import SepError, Transient

_SAVE_SHARE: Final = 20
"""Saving takes at most one part in so many of the time, however large the state grows."""

_SAVE_TRIES: Final = 20

_GZIP: Final = 31  # wbits that make zlib expect a gzip header

log = structlog.get_logger()


class Keeper:
    """A thread beside one chain. block_time_s None: it does not mine; save_to None: nor save."""

    def __init__(
        self, url: str, *, block_time_s: float | None, save_to: Path | None, save_every_s: float
    ) -> None:
        self._rpc = Rpc(url)
        self._block_time_s = block_time_s
        self._save_to = save_to
        self._save_every_s = save_every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chain-keeper", daemon=True)
        if block_time_s is not None or save_to is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._rpc.close()

    def _run(self) -> None:
        now = time.monotonic()
        never = float("inf")
        block_at = never if self._block_time_s is None else now + self._block_time_s
        save_at = never if self._save_to is None else now + self._save_every_s
        while not self._ended.wait(max(0.0, min(block_at, save_at) - time.monotonic())):
            # a dead node is for whoever restarts it: keep trying until then
            with suppress(SepError):
                if self._block_time_s is not None and block_at <= time.monotonic():
                    block_at = _next(block_at, self._block_time_s)
                    self._rpc("evm_mine")
                if self._save_to is not None and save_at <= time.monotonic():
                    save_at = time.monotonic() + self._save_every_s
                    save_at = max(save_at, time.monotonic() + _SAVE_SHARE * self._save())

    def _save(self) -> float:
        """Save the state; a full disk must not stop the blocks. Return the seconds it took."""
        assert self._save_to is not None
        try:
            return save_state(self._rpc, self._save_to)
        except OSError as error:
            log.warning("chain_not_saved", chain=self._rpc.url, why=str(error))
            return 0.0


def _next(due: float, period: float) -> float:
    """Keep the pace; after a pause of the machine go on from now instead of catching up."""
    now = time.monotonic()
    return due + period if due + period > now else now + period


def save_state(rpc: Rpc, path: Path, *, settle_s: float = 0.0) -> float:
    """Write the chain's whole state to a file in one step; return the seconds it took.

    The node reads its blocks first and its accounts later. Where somebody else may mine meanwhile,
    `settle_s` is how long to wait for a block to show that was being made: a state with accounts of
    a block that it lacks is not written. Transient when blocks come faster than states.
    """
    began = time.monotonic()
    for _ in range(_SAVE_TRIES):
        before = rpc("eth_blockNumber")
        dumped: str = rpc("anvil_dumpState")
        time.sleep(settle_s)
        if rpc("eth_blockNumber") == before:
            replace_file(path, zlib.decompress(bytes.fromhex(dumped.removeprefix("0x")), _GZIP))
            return time.monotonic() - began
    raise Transient("the chain mines faster than it can be saved", url=rpc.url)
