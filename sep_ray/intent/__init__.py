"""What is wanted: the intent, its bounds, its states and its events."""
