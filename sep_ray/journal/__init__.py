"""The truth: append-only streams of events, and the state they add up to."""
