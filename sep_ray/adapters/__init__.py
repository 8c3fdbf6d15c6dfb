"""Every byte of input and output: databases, chains, models."""
