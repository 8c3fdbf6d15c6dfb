"""The users' code: strategies, their signals and what they may do."""
