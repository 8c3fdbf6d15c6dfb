"""Steps into plans: which pools, how much, at what limit. Pure functions of a snapshot."""
