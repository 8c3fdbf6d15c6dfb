"""The embedded stack: local chains with real contracts, Postgres and Redis."""
