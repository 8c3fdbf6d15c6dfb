"""Hints to executors: cheap to give, told in time, and no loss when lost."""

from __future__ import annotations

import asyncio
from typing import Final

from ray.exceptions import RayError

from actors.names import Handles, executor_name
from sep_ray.kernel.units import ChainId

PATIENCE_S: Final = 2.0


class ExecutorHints:
    """Tells executors that steps wait. Use it on one event loop.

    However many steps become ready while an executor is being told, it is told once more. A lost
    hint costs no more than waiting for the next block.
    """

    def __init__(self) -> None:
        self._handles = Handles()
        self._waiting: set[ChainId] = set()
        self._telling: dict[ChainId, asyncio.Task[None]] = {}

    def give(self, chain_id: ChainId) -> None:
        """Tell a chain's executor, soon; returns at once."""
        self._waiting.add(chain_id)
        if chain_id not in self._telling:
            self._telling[chain_id] = asyncio.get_running_loop().create_task(self._tell(chain_id))

    async def _tell(self, chain_id: ChainId) -> None:
        name = executor_name(chain_id)
        try:
            while chain_id in self._waiting:
                self._waiting.discard(chain_id)
                executor = self._handles.get(name)
                if executor is not None:
                    await asyncio.wait_for(executor.hint.remote(), PATIENCE_S)
        except (RayError, TimeoutError):
            self._handles.forget(name)
        finally:
            del self._telling[chain_id]
