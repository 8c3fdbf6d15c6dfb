"""The moving parts between database, chains and models: plain classes, driven by actors."""
