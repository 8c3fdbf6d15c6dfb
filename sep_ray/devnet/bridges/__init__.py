"""The bridges between the local chains: real contracts, and the people who serve them."""
