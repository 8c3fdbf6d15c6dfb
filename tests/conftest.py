"""Fixtures every suite may use."""

pytest_plugins = ["tests.fixtures.chains", "tests.fixtures.services"]
