"""The developer's house: install, checks and test runner; nothing here ships in the wheel."""
