"""Chaos on the real stack: everything is killed in turn while intents flow, then all is counted."""
