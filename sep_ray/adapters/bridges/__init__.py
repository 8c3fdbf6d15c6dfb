"""Bridges behind settlement's port: Across, Hyperlane, Arbitrum's own, and CCTP."""
