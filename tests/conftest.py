"""Fixtures every suite may use."""

import os

from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.chains",
    "tests.fixtures.real_bridging",
    "tests.fixtures.real_two_chains",
    "tests.fixtures.services",
    "tests.fixtures.stores",
]

# A busy machine is no counterexample. Where CI is set, hypothesis has a profile that says so too.
settings.register_profile("patient", deadline=None, print_blob=True)
if "CI" not in os.environ:
    settings.load_profile("patient")
