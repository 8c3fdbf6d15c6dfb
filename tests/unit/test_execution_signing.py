"""Signed bytes are exact: against published vectors and against another implementation."""

import pickle
import random
import stat
import timeit

import pytest
from eth_account import Account
from eth_hash.auto import keccak

from sep_ray.adapters.evm import transactions
from sep_ray.adapters.evm.abi import checksummed
from sep_ray.adapters.evm.permit2 import PermitSingle, PermitTransferFrom, digest
from sep_ray.adapters.evm.signer import (
    ORDER,
    LocalSigner,
    devnet_secret,
    from_keystore,
    signed_by,
    to_keystore,
)
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import ChainId
from tests.fixtures.vectors import vectors

TYPED = "ethers5_typed-transactions.json.gz"
ZERO = "0x" + "00" * 20


def _int(tx, name):
    value = tx.get(name, 0)
    return int(value, 16) if isinstance(value, str) else value


def _fields(tx):
    listed = [(e["address"], e["storageKeys"]) for e in tx.get("accessList") or []]
    return transactions.body(
        chain_id=_int(tx, "chainId"),
        nonce=_int(tx, "nonce"),
        tip_wei=_int(tx, "maxPriorityFeePerGas"),
        max_fee_wei=_int(tx, "maxFeePerGas"),
        gas_limit=_int(tx, "gasLimit"),
        to=tx.get("to"),
        value_wei=_int(tx, "value"),
        data=tx.get("data", "0x"),
        access_list=listed,
    )


def test_published_type_2_transactions_are_reproduced():
    cases = [case for case in vectors(TYPED) if case["tx"]["type"] == 2]
    assert len(cases) == 512
    for case in cases:
        fields = _fields(case["tx"])
        signer = LocalSigner(bytes.fromhex(case["key"][2:]))
        parity, r, s = signer.sign_digest(keccak(transactions.unsigned(fields)))
        assert signer.address == case["address"].lower(), case["name"]
        assert "0x" + transactions.unsigned(fields).hex() == case["unsigned"], case["name"]
        assert "0x" + transactions.signed(fields, parity, r, s).hex() == case["signed"]


def _random_unsigned(chance):
    return Unsigned(
        chain_id=ChainId(chance.choice([1, 42161, 2**40])),
        nonce=chance.choice([0, 1, 127, 128, 10**9]),
        call=Call(
            to="0x" + chance.randbytes(20).hex(),
            data="0x" + chance.randbytes(chance.choice([0, 1, 55, 56, 300])).hex(),
            value_wei=chance.choice([0, 1, 10**18]),
        ),
        gas_limit=chance.randrange(21_000, 30_000_000),
        max_fee_wei=chance.randrange(10**12),
        tip_wei=chance.randrange(10**3),
    )


async def test_signatures_equal_those_of_eth_account():
    chance = random.Random(7)
    for _ in range(50):
        secret = chance.randbytes(32)
        tx = _random_unsigned(chance)
        (mine,) = await LocalSigner(secret).sign([tx])
        other = Account.from_key(secret).sign_transaction(
            {
                "type": 2,
                "chainId": tx.chain_id,
                "nonce": tx.nonce,
                "to": checksummed(tx.call.to),
                "data": tx.call.data,
                "value": tx.call.value_wei,
                "gas": tx.gas_limit,
                "maxFeePerGas": tx.max_fee_wei,
                "maxPriorityFeePerGas": tx.tip_wei,
            }
        )
        assert mine.raw == other.raw_transaction.to_0x_hex()
        assert mine.tx_hash == other.hash.to_0x_hex()
        assert (mine.max_fee_wei, mine.tip_wei) == (tx.max_fee_wei, tx.tip_wei)


def test_a_signature_takes_well_under_a_millisecond():
    signer = LocalSigner(b"\x05" * 32)
    tx = _random_unsigned(random.Random(1))
    best = min(timeit.repeat(lambda: signed_by(tx, signer.sign_digest), number=50, repeat=5)) / 50
    assert best < 0.0005, f"{best * 1e6:.0f} us"


def test_a_key_shows_nowhere():
    secret = bytes(range(1, 33))
    signer = LocalSigner(secret)
    assert secret.hex() not in repr(signer) + str(signer)
    assert not hasattr(signer, "__dict__")
    with pytest.raises(Rejected) as caught:
        pickle.dumps(signer)
    assert secret.hex() not in str(caught.value)


@pytest.mark.parametrize("secret", [b"", b"\x00" * 32, b"\x01" * 31, ORDER.to_bytes(32, "big")])
def test_what_is_no_key_is_refused_without_showing_it(secret):
    with pytest.raises(Rejected) as caught:
        LocalSigner(secret)
    assert secret.hex() in ("", "00" * 32) or secret.hex() not in str(caught.value)


def test_an_encrypted_key_file_opens_with_its_password_only(tmp_path):
    path = tmp_path / "desk.json"
    to_keystore(b"\x07" * 32, path, "open sesame", iterations=2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert from_keystore(path, "open sesame").address == LocalSigner(b"\x07" * 32).address
    with pytest.raises(Rejected) as caught:
        from_keystore(path, "wrong word")
    assert "07" * 8 not in str(caught.value)
    assert "wrong word" not in str(caught.value)
    for broken in ("{}", "not json", "[]"):
        (tmp_path / "bad.json").write_text(broken)
        with pytest.raises(Rejected):
            from_keystore(tmp_path / "bad.json", "x")


def test_the_devnet_key_is_made_once_and_readable_by_its_owner_only(tmp_path):
    folder = tmp_path / "secrets"
    first = devnet_secret(folder)
    assert devnet_secret(folder) == first
    assert devnet_secret(folder, "driver") != first
    assert LocalSigner(first).address.startswith("0x")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["driver.key", "executor.key"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())


def test_permit2_digests_are_those_published():
    published = vectors("permit2_digests_part.json")
    chain_id, contract = 1, published["domain"]["verifyingContract"]
    single = PermitSingle(token=ZERO, amount=0, expiration=0, nonce=0, spender=ZERO, sig_deadline=0)
    transfer = PermitTransferFrom(token=ZERO, amount=0, spender=ZERO, nonce=0, deadline=0)
    digests = published["digests"]
    assert "0x" + digest(single, chain_id, contract).hex() == digests["PermitSingle"]
    assert "0x" + digest(transfer, chain_id, contract).hex() == digests["PermitTransferFrom"]


def test_permit2_digests_equal_those_of_eth_account():
    from eth_account.messages import _hash_eip191_message, encode_typed_data

    contract = "0x000000000022d473030f116ddee9f6b43ac78ba3"
    token, spender = "0x" + "a1" * 20, "0x" + "b2" * 20
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "PermitSingle": [
                {"name": "details", "type": "PermitDetails"},
                {"name": "spender", "type": "address"},
                {"name": "sigDeadline", "type": "uint256"},
            ],
            "PermitDetails": [
                {"name": "token", "type": "address"},
                {"name": "amount", "type": "uint160"},
                {"name": "expiration", "type": "uint48"},
                {"name": "nonce", "type": "uint48"},
            ],
        },
        "primaryType": "PermitSingle",
        "domain": {"name": "Permit2", "chainId": 42161, "verifyingContract": contract},
        "message": {
            "details": {"token": token, "amount": 10**20, "expiration": 99, "nonce": 3},
            "spender": spender,
            "sigDeadline": 1_800_000_000,
        },
    }
    permit = PermitSingle(
        token=token,
        amount=10**20,
        expiration=99,
        nonce=3,
        spender=spender,
        sig_deadline=1_800_000_000,
    )
    expected = _hash_eip191_message(encode_typed_data(full_message=typed))
    assert digest(permit, 42161, contract) == expected
