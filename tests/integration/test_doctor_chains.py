"""`sep doctor` asks configured nodes what they are, through web3 as any client would."""

from pathlib import Path

from pydantic import SecretStr

from sep_ray.settings import Settings
from serve_app.doctor import Finding, examine
from tests.fixtures.chains import Pair


def findings(tmp_path: Path, ethereum: str, arbitrum: str) -> dict[str, Finding]:
    settings = Settings(
        state_dir=tmp_path,
        ethereum_rpc_url=SecretStr(ethereum),
        arbitrum_rpc_url=SecretStr(arbitrum),
    )
    return {finding.check: finding for finding in examine(settings)}


def test_nodes_are_named_and_a_wrong_chain_is_found(chains: Pair, tmp_path: Path) -> None:
    right = findings(tmp_path, chains.url(1), chains.url(42161))
    assert right["chain 1"].ok
    assert right["chain 42161"].ok
    assert "anvil" in right["chain 1"].found
    swapped = findings(tmp_path, chains.url(42161), chains.url(1))
    assert (swapped["chain 1"].ok, swapped["chain 1"].found) == (False, "it is chain 42161")


def test_a_silent_node_is_one_finding_without_its_address(tmp_path: Path) -> None:
    silent = findings(tmp_path, "http://127.0.0.1:9/secret-key", "http://127.0.0.1:9/secret-key")
    assert not silent["chain 1"].ok
    assert "secret-key" not in silent["chain 1"].found + silent["chain 1"].advice


def test_each_of_several_nodes_is_asked(chains: Pair, tmp_path: Path) -> None:
    good = chains.url(1)
    both = findings(tmp_path, f"{good}, {good}", chains.url(42161))
    assert both["chain 1"].ok
    assert both["chain 1"].found.count("anvil") == 2
    one = findings(tmp_path, f"{good},http://127.0.0.1:9/secret-key", chains.url(42161))
    assert not one["chain 1"].ok
    assert one["chain 1"].advice.startswith("2: check the address")
    assert "secret-key" not in one["chain 1"].found
