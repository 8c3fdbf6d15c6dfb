"""The engine on seeded time, chance and faults: thousands of bad days, each one repeatable."""
