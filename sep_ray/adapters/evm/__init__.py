"""EVM chains: addresses, calls, transactions."""
