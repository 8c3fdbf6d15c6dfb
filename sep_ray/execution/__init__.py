"""A plan into transactions that land exactly once."""
