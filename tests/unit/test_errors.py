"""Every error we raise survives the trip between Ray processes."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import sep_ray
from sep_ray.kernel.errors import SepError

STAGES = ("kernel", "intent", "decomposition", "routing", "execution", "portfolio", "journal")
for stage in STAGES:
    package = importlib.import_module(f"{sep_ray.__name__}.{stage}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def family(root: type[SepError]) -> Iterator[type[SepError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("kind", sorted(family(SepError), key=str), ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[SepError]) -> None:
    received = pickle.loads(pickle.dumps(kind("why", pool="0xabc", units=3)))
    assert type(received) is kind
    assert (received.message, received.facts) == ("why", {"pool": "0xabc", "units": 3})
    assert str(received) == "why (pool=0xabc, units=3)"
