"""Endpoints from settings: one is the simple case, several need a majority, bad ones are named."""

import pytest
from pydantic import SecretStr, ValidationError

from sep_ray.adapters import metrics
from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.bootstrap.chain import access
from sep_ray.execution.ports import EndpointState, EndpointStatus
from sep_ray.kernel.errors import Rejected
from sep_ray.settings import Settings


def settings(url, **more):
    return Settings(ethereum_rpc_url=SecretStr(url), **more)


def test_one_address_is_one_endpoint():
    found = access(settings("https://one/key"), ETHEREUM)
    assert (found.urls, found.needed, found.private) == (("https://one/key",), 1, None)
    with pytest.raises(Rejected, match="no endpoint is configured"):
        access(settings("https://one"), ARBITRUM)


def test_several_need_a_majority_unless_told_otherwise():
    several = "https://a/k, https://b, http://c"
    assert access(settings(several), ETHEREUM).urls == ("https://a/k", "https://b", "http://c")
    assert access(settings(several), ETHEREUM).needed == 2
    assert access(settings(several, rpc_agreement=3), ETHEREUM).needed == 3
    assert access(settings(several, rpc_agreement=1), ETHEREUM).needed == 1
    with pytest.raises(Rejected, match=r"agreement is out of range .*got=4, range=1, or 2\.\.3"):
        access(settings(several, rpc_agreement=4), ETHEREUM)


@pytest.mark.parametrize("url", ["ftp://a/secret", "https://a/secret,", "secret", "https://a,b"])
def test_what_is_no_address_is_refused_without_showing_it(url):
    with pytest.raises(ValidationError, match="ethereum_rpc_url") as caught:
        settings(url)
    assert "secret" not in str(caught.value)


def test_a_private_endpoint_comes_with_its_rule():
    more = {"ethereum_private_rpc_url": SecretStr("https://p"), "private_blocks": 7}
    found = access(settings("https://a", **more), ETHEREUM)
    assert (found.private, found.private_blocks) == ("https://p", 7)


def test_figures_are_published_by_place_not_by_name():
    status = EndpointStatus(
        name="rpc.example",
        state=EndpointState.LAGGING,
        latency_ms=250,
        head=90,
        lag_blocks=4,
        failures=0,
        offences=2,
    )
    metrics.endpoints(424_242, [status])
    lines = [
        line for line in metrics.exposition().decode().splitlines() if 'chain_id="424242"' in line
    ]
    assert {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines} == {
        "endpoint_up": 0,
        "endpoint_latency_seconds": 0.25,
        "endpoint_lag_blocks": 4,
        "endpoint_offences": 2,
    }
    assert "rpc.example" not in "".join(lines)


@pytest.mark.parametrize("more", [{"refuel_to_wei": 5}, {"refuel_below_wei": 10**18}])
def test_a_refuelling_that_would_leave_an_account_short_is_refused(more):
    with pytest.raises(ValidationError, match=r"refuel_to_wei.*\n.*SEP_REFUEL_BELOW_WEI, \d+; it"):
        settings("https://one", **more)
    assert settings("https://one", refuel_below_wei=0, refuel_to_wei=0).refuel_to_wei == 0
