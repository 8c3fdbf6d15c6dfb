"""Settings: read once, at the edge, from SEP_* variables or an .env file; then frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything an operator can set. Every field is SEP_<NAME> in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SEP_", env_file=".env", frozen=True, extra="ignore"
    )

    state_dir: Path = Field(Path(".sep"), description="databases, chains, logs and secrets")
    cache_dir: Path | None = Field(None, description="chain binary, contracts and built states")
    models_dir: Path | None = Field(None, description="model artefacts; default: the package's")

    postgres_url: SecretStr | None = Field(None, description="external Postgres; else embedded")
    redis_url: SecretStr | None = Field(None, description="external Redis; else embedded")
    ethereum_rpc_url: SecretStr | None = Field(
        None, description="chain 1, several with commas between; else a local chain"
    )
    arbitrum_rpc_url: SecretStr | None = Field(
        None, description="chain 42161, several with commas between; else a local one"
    )
    rpc_agreement: int | None = Field(
        None, ge=1, le=16, description="endpoints that must agree; default: more than half"
    )
    ethereum_private_rpc_url: SecretStr | None = Field(
        None, description="takes what may revert first, and shows it to nobody"
    )
    arbitrum_private_rpc_url: SecretStr | None = None
    private_blocks: int = Field(
        5, ge=1, le=1_000, description="without inclusion, then all endpoints are told"
    )

    lanes: int = Field(1, ge=1, le=16, description="accounts that trade on each chain")
    refuel_below_wei: int = Field(
        50_000_000_000_000_000,
        ge=0,
        description="an account with less coin is sent some by one of the others; 0: none is",
    )
    refuel_to_wei: int = Field(
        200_000_000_000_000_000,
        ge=0,
        validate_default=True,
        description="so much it has then, and who sends it keeps",
    )
    keystore_file: Path | None = Field(
        None, description="encrypted key, or a folder with one for each lane; else a local chain's"
    )
    keystore_password: SecretStr | None = None
    keystore_password_file: Path | None = Field(None, description="its first line; else the above")
    signer_keys: SecretStr | None = Field(
        None, description="private keys in hex, one for each lane, between commas"
    )
    kms_keys: str | None = Field(
        None, description="ids of keys in AWS KMS, one for each lane, between commas"
    )
    kms_region: str | None = None

    http_host: str = "127.0.0.1"
    http_port: int | None = Field(
        None, ge=0, le=65_535, description="0 takes a free port; unset prefers 8700"
    )
    api_replicas: int = Field(1, ge=1, le=64)
    model_replicas: int = Field(1, ge=1, le=64, description="of each model")
    jwt_secret: SecretStr | None = Field(
        None, min_length=32, description="else made at first start"
    )
    submissions_per_minute: int = Field(10, ge=1, le=10_000_000, description="per principal")
    max_body_bytes: int = Field(4_000_000, ge=1_000)
    bench_routes: bool = Field(
        False, description="add POST /v1/bench/noop and /v1/bench/route, which do nothing"
    )

    ethereum_data_fee: Literal["none", "op", "arbitrum"] = Field(
        "none", description="whom to ask what a transaction's bytes cost on the parent chain"
    )
    arbitrum_data_fee: Literal["none", "op", "arbitrum"] = Field(
        "none", description="arbitrum for the real chain; a local one has no such contract"
    )
    ethereum_block_seconds: float = Field(1.0, ge=0.05, le=60)
    arbitrum_block_seconds: float = Field(0.25, ge=0.05, le=60)
    ethereum_confirmations: int = Field(2, ge=0, le=1_024, description="of what is worth little")
    arbitrum_confirmations: int = Field(2, ge=0, le=1_024)
    ethereum_finality_tag: Literal["none", "safe", "finalized"] = Field(
        "none", description="the chain's own word, waited for besides confirmations"
    )
    arbitrum_finality_tag: Literal["none", "safe", "finalized"] = "none"
    confirmation_value: int | None = Field(
        100_000, ge=1, description="dollars for which one more confirmation is asked, up to 64"
    )
    netting_strategies: str = Field(
        "", description="ids with commas between; their opposite sales are crossed at the mid"
    )
    price_tolerance_ppm: int | None = Field(
        100_000, ge=1, le=1_000_000, description="a plan may be off an independent price; else any"
    )
    reorg_depth: int = Field(
        12, ge=1, le=1_024, description="blocks down to which reorganisations are followed"
    )
    bridge_services_url: str | None = Field(
        None, description="the local bridges' services; set by the stack that starts them"
    )
    bridge_caps: dict[str, dict[str, int]] = Field(
        default_factory=dict,
        description="most that may be with a bridge: its name, CAIP-19 asset, smallest units",
    )
    across_api_url: str | None = Field(None, description="Across's API; without it, no Across")
    cctp_api_url: str | None = Field(None, description="Circle's attestation API for CCTP")
    hyperlane_api_url: str | None = Field(None, description="signed checkpoints of Hyperlane")
    fault_proxies: bool = Field(False, description="a node that misbehaves before each local chain")
    local_endpoints: int = Field(
        1, ge=1, le=16, description="addresses of each local chain; a proxy stands before the first"
    )
    crash_points: Path | None = Field(
        None, description="folder of orders to die at named points; for fault runs"
    )
    market: Literal["seeded", "imported"] = "seeded"
    market_data: Path | None = Field(None, description="pool states for market=imported")
    market_driver: bool = Field(False, description="move the local market's prices")
    market_seed: int = 7

    spare_processes: int = Field(
        2, ge=0, le=16, description="on each node; an engine that dies goes on in one"
    )
    strategies_per_actor: int = Field(1, ge=1, le=1_000)
    model_timeout_ms: int = Field(250, ge=1, le=10_000, description="then the fallback decides")
    lease_ttl_ms: int = Field(2_000, ge=500, le=60_000)
    ray_cpus: int = Field(8, ge=1, description="logical; the actors ask for none")
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator(
        "ethereum_rpc_url",
        "arbitrum_rpc_url",
        "ethereum_private_rpc_url",
        "arbitrum_private_rpc_url",
    )
    @classmethod
    def _addresses(cls, url: SecretStr | None) -> SecretStr | None:
        """Refuse what is no HTTP address, without showing it."""
        if url is not None and not all(
            a.startswith(("http://", "https://")) for a in addresses(url)
        ):
            raise ValueError("must be http:// or https:// addresses with commas between")
        return url

    @field_validator(
        "state_dir",
        "cache_dir",
        "models_dir",
        "market_data",
        "keystore_file",
        "keystore_password_file",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("refuel_to_wei")
    @classmethod
    def _refuelled_enough(cls, wei: int, info: ValidationInfo) -> int:
        least = info.data.get("refuel_below_wei", 0)
        if wei < least:
            raise ValueError(f"must be at least SEP_REFUEL_BELOW_WEI, {least}; it is {wei}")
        return wei

    @property
    def netted(self) -> frozenset[str]:
        """The strategies that take part in internal netting: none unless they are named."""
        return frozenset(
            name for part in self.netting_strategies.split(",") if (name := part.strip())
        )

    @property
    def cache(self) -> Path:
        """Where what is installed and built once is kept."""
        return self.cache_dir or self.state_dir / "cache"


def addresses(url: SecretStr) -> tuple[str, ...]:
    """Return the addresses in a setting, in order; at least one, which may be empty."""
    return tuple(part.strip() for part in url.get_secret_value().split(","))
