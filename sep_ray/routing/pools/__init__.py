"""Exact pool mathematics: one file per pool type, one Protocol for all."""
