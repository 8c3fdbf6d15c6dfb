"""What is deployed agrees with the code: settings, ports, versions, lock files; and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from sep_ray import __version__
from sep_ray.kernel.errors import Rejected
from sep_ray.settings import Settings
from serve_app.deploy import KEYS, NEEDED, require
from serve_app.ray_environment import ray_environment
from tools.install import INSTALLER_LOCK, ROOT, RUNTIME_LOCK

CLUSTER = ROOT / "cluster"
SETTINGS, RAY = yaml.safe_load_all((ROOT / "ray-cluster.yaml").read_text())
COMPOSE = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
OUTSIDE = {"SEP_POSTGRES_PASSWORD"}
"""Asked for by the compose file itself, as a part of a setting."""


def containers() -> Iterator[dict[str, Any]]:
    groups = (RAY["spec"]["headGroupSpec"], *RAY["spec"]["workerGroupSpecs"])
    for group in groups:
        yield from group["template"]["spec"]["containers"]


def secrets(container: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}


def test_every_variable_named_is_a_setting() -> None:
    known = {f"SEP_{name.upper()}" for name in Settings.model_fields} | OUTSIDE
    for file in (ROOT / "ray-cluster.yaml", *sorted(CLUSTER.iterdir())):
        named = set(re.findall(r"\bSEP_[A-Z_]+\b", file.read_text()))
        assert named <= known, (file.name, named - known)


def test_what_the_settings_map_says_is_within_its_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SETTINGS["data"].items():
        assert isinstance(value, str), name
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.http_port is not None
    for each in containers():
        ports = {port["name"]: port["containerPort"] for port in each["ports"]}
        assert ports["http"] == settings.http_port


def test_no_secret_has_a_value_and_all_come_from_one_place() -> None:
    hidden = {
        f"SEP_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if SecretStr in getattr(field.annotation, "__args__", (field.annotation,))
    }
    assert not hidden & set(SETTINGS["data"])
    for each in containers():
        assert {ref["name"] for ref in secrets(each).values()} == {"sep-secrets"}
        assert set(secrets(each)) <= hidden
        assert each["envFrom"] == [{"configMapRef": {"name": SETTINGS["metadata"]["name"]}}]
    for value in COMPOSE["sep"]["environment"].values():
        assert value is None or "SECRET" not in value or value.endswith(":?}")


def test_nodes_have_all_that_a_deployment_asks_for() -> None:
    given = set(SETTINGS["data"]) | set(secrets(next(containers())))
    assert {f"SEP_{name.upper()}" for name in NEEDED} <= given
    assert {f"SEP_{name.upper()}" for name in KEYS} & given


@pytest.mark.parametrize("missing", NEEDED)
def test_a_cluster_without_a_needed_setting_is_refused_by_name(missing: str) -> None:
    values: dict[str, Any] = {
        "postgres_url": "postgresql://db/sep",
        "ethereum_rpc_url": "http://one",
        "arbitrum_rpc_url": "http://two",
        "jwt_secret": "x" * 32,
        "http_port": 8700,
        "signer_keys": "0x" + "1" * 64,
    }
    require(Settings(_env_file=None, **values))
    with pytest.raises(Rejected, match=f"SEP_{missing.upper()}"):
        require(Settings(_env_file=None, **{**values, missing: None}))
    with pytest.raises(Rejected, match="signer"):
        require(Settings(_env_file=None, **{**values, "signer_keys": None}))


def test_rays_variables_are_those_of_the_embedded_platform(tmp_path: Any) -> None:
    embedded = ray_environment(tmp_path)
    apart = {"PROMETHEUS_MULTIPROC_DIR", "RAY_SERVE_DEFAULT_HTTP_HOST"}
    for name, value in SETTINGS["data"].items():
        if not name.startswith("SEP_") and name not in apart:
            assert embedded[name] == value, name


def test_the_cluster_runs_the_locked_ray_and_this_version() -> None:
    pinned = re.search(r"^ray==(\S+)", (ROOT / RUNTIME_LOCK).read_text(), re.M)
    assert pinned is not None
    assert RAY["spec"]["rayVersion"] == pinned[1]
    images = {each["image"] for each in containers()} | {COMPOSE["sep"]["image"]}
    assert images == {f"sep-ray:{__version__}"}


def test_the_head_hosts_no_actor_and_what_it_knows_survives_it() -> None:
    assert RAY["kind"] == "RayCluster"
    assert RAY["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert RAY["spec"]["gcsFaultToleranceOptions"]["redisAddress"]
    assert "externalStorageNamespace" not in RAY["spec"]["gcsFaultToleranceOptions"]
    assert RAY["spec"]["authOptions"] == {"mode": "token"}
    for each in containers():
        assert each["readinessProbe"]["exec"]["command"] == ["ray-alive"]
        assert (
            each["livenessProbe"]["failureThreshold"] > each["readinessProbe"]["failureThreshold"]
        )


def test_the_deployment_runs_on_that_cluster() -> None:
    job = yaml.safe_load((CLUSTER / "deploy.yaml").read_text())
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": RAY["metadata"]["name"]}
    assert job["spec"]["entrypoint"] == "python -m serve_app.deploy"


def test_the_image_installs_what_the_lock_files_say() -> None:
    steps = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    for lock in (INSTALLER_LOCK, RUNTIME_LOCK):
        assert re.search(rf"--require-hashes\s+-r {re.escape(lock)}", steps), lock
    assert "FROM python:3.11" in steps


def test_prometheus_reads_the_platforms_port() -> None:
    scraped = yaml.safe_load((CLUSTER / "prometheus.yml").read_text())["scrape_configs"]
    assert [each["metrics_path"] for each in scraped] == ["/metrics"]
    port = COMPOSE["sep"]["environment"]["SEP_HTTP_PORT"]
    assert scraped[0]["static_configs"][0]["targets"] == [f"sep:{port}"]
