"""The concurrency group that keeps health and control calls ahead of everything else."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import ray
from ray.actor import ActorClass

T = TypeVar("T")

GROUP: Final = "control"


def with_control(shell: type[T], *, calls: int) -> ActorClass[T]:
    """Make a shell a Ray actor class whose `control` methods have `calls` threads of their own.

    Without them a halt or a health check waits for every call queued before it.
    """
    # Ray's own annotations do not know this option of its decorator.
    decorated: Any = ray.remote(concurrency_groups={GROUP: calls})  # type: ignore[call-overload]
    actor_class: ActorClass[T] = decorated(shell)
    return actor_class
