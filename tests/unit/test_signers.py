"""Keys from every source sign the same bytes, and show themselves nowhere."""

import contextlib
import pickle
import random
import traceback
from typing import Any

import pytest
import structlog
from coincurve import PrivateKey

from sep_ray.adapters.evm.kms import KmsSigner, aws_client, read_signature
from sep_ray.adapters.evm.signer import ORDER, LocalSigner, to_keystore
from sep_ray.bootstrap.keys import configured_signers, password_of
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import ChainId
from sep_ray.settings import Settings

SECRET = bytes(range(1, 33))
SPKI = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200")
TX = Unsigned(
    chain_id=ChainId(1),
    nonce=7,
    call=Call(to="0x" + "11" * 20, data="0xabcd"),
    gas_limit=50_000,
    max_fee_wei=10**10,
    tip_wei=10**8,
)


def der(r, s):
    """Write a signature as KMS does."""

    def integer(value):
        body = value.to_bytes(value.bit_length() // 8 + 1, "big")
        return bytes([2, len(body)]) + body

    body = integer(r) + integer(s)
    return bytes([0x30, len(body)]) + body


class LocalKms:
    """Stands in for AWS: a real key, answers in DER, s in either half."""

    def __init__(self, secret=SECRET, *, high=False, fails=""):
        self.key = PrivateKey(secret)
        self.high = high
        self.fails = fails

    def get_public_key(self, *, KeyId):
        self._maybe()
        return {"PublicKey": SPKI + self.key.public_key.format(compressed=False)}

    def sign(self, *, KeyId, Message, MessageType, SigningAlgorithm):
        self._maybe()
        assert (MessageType, SigningAlgorithm, len(Message)) == ("DIGEST", "ECDSA_SHA_256", 32)
        raw = self.key.sign_recoverable(Message, hasher=None)
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
        return {"Signature": der(r, ORDER - s if self.high else s)}

    def _maybe(self):
        if self.fails:
            raise RuntimeError(self.fails)


@pytest.mark.parametrize("high", [False, True])
async def test_kms_signs_what_the_key_in_memory_signs(high):
    signer = KmsSigner.open(LocalKms(high=high), "alias/trader")
    local = LocalSigner(SECRET)
    assert signer.address == local.address
    assert await signer.sign([TX, TX]) == await local.sign([TX, TX])


def test_kms_signatures_recover_for_any_digest():
    chance = random.Random(3)
    for _ in range(50):
        secret = chance.randbytes(32)
        signer = KmsSigner.open(LocalKms(secret, high=chance.random() < 0.5), "k")
        digest = chance.randbytes(32)
        assert signer.sign_digest(digest) == LocalSigner(secret).sign_digest(digest)


def test_what_kms_says_is_checked():
    point = LocalKms().key.public_key.format(compressed=False)[1:]
    other = KmsSigner(LocalKms(b"\x02" * 32), "k", point)
    with pytest.raises(Transient, match="another key"):
        other.sign_digest(b"\x01" * 32)
    good = der(5, 6)
    assert read_signature(good) == (5, 6)
    for bad in (b"", good[:-1], good + b"\0", der(0, 5), der(ORDER, 5), b"\x31" + good[1:]):
        with pytest.raises(Rejected):
            read_signature(bad)

    class Rsa(LocalKms):
        def get_public_key(self, *, KeyId):
            return {"PublicKey": b"\x30" * 88}

    with pytest.raises(Rejected, match="secp256k1"):
        KmsSigner.open(Rsa(), "k")


def test_without_the_extra_kms_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(Rejected, match="aws"):
        aws_client(None)


def settings(**fields):
    return Settings(_env_file=None, **fields)


def test_each_source_gives_the_same_account(tmp_path):
    address = LocalSigner(SECRET).address
    file, password = tmp_path / "key.json", tmp_path / "password"
    to_keystore(SECRET, file, "open sesame", iterations=2)
    password.write_text("open sesame\nignored\n")
    sources = [
        settings(keystore_file=file, keystore_password="open sesame"),
        settings(keystore_file=file, keystore_password_file=password),
        settings(signer_keys=f"0x{SECRET.hex()}"),
        settings(kms_keys="alias/trader"),
    ]
    for source in sources:
        (signer,) = configured_signers(source, LocalKms())
        assert signer.address == address
    assert configured_signers(settings()) == []


def test_unclear_keys_are_refused(tmp_path):
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"signer_keys": SECRET.hex(), "kms_keys": "a"}, "one source"),
        ({"signer_keys": SECRET.hex(), "lanes": 2}, "fewer keys"),
        ({"signer_keys": "zz"}, "not a private key"),
        ({"signer_keys": "00" * 32}, "not a private key"),
        ({"keystore_file": tmp_path / "none"}, "cannot be opened"),
    ]
    for fields, words in wrong:
        with pytest.raises(Rejected, match=words):
            configured_signers(settings(**fields), LocalKms())
    with pytest.raises(Rejected, match="password file"):
        password_of(settings(keystore_password_file=tmp_path / "none"))


async def test_keys_show_themselves_nowhere(tmp_path, capsys):
    """Search everything that could be printed, logged, raised or sent for the key."""
    key, password = SECRET.hex(), "open sesame"
    file = tmp_path / "key.json"
    to_keystore(SECRET, file, password, iterations=2)
    said = [file.read_text()]
    made = settings(signer_keys=key, keystore_password=password)
    said += [repr(made), str(made), made.model_dump_json()]
    for each in (LocalSigner(SECRET), KmsSigner.open(LocalKms(), "k")):
        said += [repr(each), str(each), repr(await each.sign([TX]))]
        structlog.get_logger().info("signer", signer=each)
    with contextlib.suppress(Rejected):
        pickle.dumps(LocalSigner(SECRET))
    tries = [
        lambda: configured_signers(settings(signer_keys=key + "zz")),
        lambda: configured_signers(settings(signer_keys=key[:-2])),
        lambda: configured_signers(settings(keystore_file=file, keystore_password=key)),
        lambda: configured_signers(settings(signer_keys=key, lanes=3)),
        lambda: KmsSigner.open(LocalKms(fails=key), "k"),
        lambda: KmsSigner(LocalKms(fails=key), "k", b"").sign_digest(b"\0" * 32),
    ]
    for attempt in tries:
        try:
            attempt()
        except (Rejected, Transient) as error:
            said += ["".join(traceback.format_exception(error)), repr(error), repr(error.facts)]
        else:
            raise AssertionError("was not refused")
    out = capsys.readouterr()
    text = "\n".join([*said, out.out, out.err]).lower()
    assert key not in text
    assert key[:-2] not in text
    assert str(int(key, 16)) not in text
    assert repr(SECRET).lower() not in text
    assert password not in text
