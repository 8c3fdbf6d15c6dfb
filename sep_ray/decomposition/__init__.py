"""One goal into concrete steps: what to swap, how much, when."""
