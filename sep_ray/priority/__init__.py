"""How urgent is it: what an intent loses by waiting, and the order that follows."""
