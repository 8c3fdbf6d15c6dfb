"""The keys that trade, from settings: encrypted files, the environment, or AWS KMS."""

from __future__ import annotations

from pathlib import Path

from sep_ray.adapters.evm.kms import KmsClient, KmsSigner, aws_client
from sep_ray.adapters.evm.signer import from_hex, from_keystore
from sep_ray.execution.ports import Signer
from sep_ray.kernel.errors import Rejected
from sep_ray.settings import Settings


def configured_signers(settings: Settings, kms: KmsClient | None = None) -> list[Signer]:
    """Return one signer for each lane; none when no key is configured.

    Raises Rejected when several sources are named, when one cannot be opened, and for fewer keys
    than lanes. `kms` stands in for AWS's own client.
    """
    files, keys, names = settings.keystore_file, settings.signer_keys, settings.kms_keys
    if sum(source is not None for source in (files, keys, names)) > 1:
        raise Rejected("keys from one source only", settings="keystore_file, signer_keys, kms_keys")
    found: list[Signer] = []
    if files is not None:
        found += _from_files(files, password_of(settings), settings.lanes)
    elif keys is not None:
        found += [from_hex(text) for text in keys.get_secret_value().split(",")]
    elif names is not None:
        client = kms or aws_client(settings.kms_region)
        found += [KmsSigner.open(client, name.strip()) for name in names.split(",")]
    else:
        return []
    if len(found) < settings.lanes:
        raise Rejected("fewer keys than lanes", keys=len(found), lanes=settings.lanes)
    return found[: settings.lanes]


def password_of(settings: Settings) -> str:
    """Return what encrypted key files are opened with: a file's first line, or the setting."""
    file, said = settings.keystore_password_file, settings.keystore_password
    if file is None:
        return said.get_secret_value() if said is not None else ""
    try:
        return file.read_text().partition("\n")[0]
    except (OSError, ValueError):
        raise Rejected("the password file cannot be read", file=file.name) from None


def _from_files(where: Path, password: str, lanes: int) -> list[Signer]:
    files = sorted(where.iterdir()) if where.is_dir() else [where]
    return [from_keystore(file, password) for file in files[:lanes]]
