"""Stores without I/O."""

from sep_ray.adapters.memory.board import MemoryBoard
from sep_ray.adapters.memory.store import MemoryStore

__all__ = ["MemoryBoard", "MemoryStore"]
