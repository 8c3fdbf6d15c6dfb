"""What is kept in Redis: all of it can be gone at any moment, and is made again."""

from sep_ray.adapters.redis.board import RedisBoard

__all__ = ["RedisBoard"]
