"""How every actor of the platform is made: what it survives, and what stays ahead of its queue."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import ray
from ray.actor import ActorClass, ActorProxy

from actors.names import NAMESPACE
from actors.preload import Kind, environment

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


def living_actor(
    actor_class: ActorClass[T], name: str, *args: object, kind: Kind = Kind.ENGINE
) -> ActorProxy[T]:
    """Return the actor of this name, made if needed; all options are set here and only here.

    It outlives whoever made it and is restarted whenever it dies. Calls are never repeated by
    Ray, because only the journal knows whether something may be done again. It starts in
    a spare process of its kind if one waits.
    """
    options: Any = actor_class.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        runtime_env=environment(kind),
    )
    actor: ActorProxy[T] = options.remote(*args)
    return actor
