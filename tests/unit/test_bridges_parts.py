"""The pure parts of the bridges' adapters and servants: ids, matching, trees, messages, answers."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import get_args

import pytest
import rlp  # type: ignore[import-untyped]  # it has no types
from aiohttp import web
from eth_utils.crypto import keccak
from pydantic import SecretStr

from sep_ray.adapters.bridges import cctp
from sep_ray.adapters.bridges.across import FUNDS_DEPOSITED, Relay, matched, refund_words
from sep_ray.adapters.bridges.addresses import alias
from sep_ray.adapters.bridges.cctp import same_burn
from sep_ray.adapters.bridges.reading import Log, Reader, calldata, paid_to, topic
from sep_ray.adapters.bridges.services import HttpService
from sep_ray.adapters.bridges.tickets import Submission
from sep_ray.adapters.bridges.world import BridgeTerms
from sep_ray.adapters.evm.abi import types_of
from sep_ray.adapters.evm.chain import TRANSFER
from sep_ray.bootstrap.bridges import bridges_of
from sep_ray.devnet.bridges import merkle
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settings import Settings
from serve_app.schemas import BridgeName

TOKEN, OTHER, WHO = ("0x" + digits * 20 for digits in ("aa", "bb", "cc"))


def log_at(index: int, **more) -> Log:
    fields = {
        "address": TOKEN,
        "topics": (),
        "data": b"",
        "block_number": 1,
        "block_hash": "0x01",
        "tx_hash": "0x02",
        "index": index,
    }
    return Log(**{**fields, **more})


def deposit(number: int, units: int, until: int) -> Relay:
    return Relay(
        depositor=WHO,
        recipient=WHO,
        exclusive_relayer="0x" + 40 * "0",
        input_token=TOKEN,
        output_token=OTHER,
        input_amount=units,
        output_amount=units,
        origin=ChainId(1),
        deposit_id=number,
        fill_deadline=until,
        exclusivity_deadline=0,
        message=b"",
        destination=ChainId(42161),
    )


@pytest.mark.parametrize("size", [0, 1, 54, 55, 56, 300, 70_000])
@pytest.mark.parametrize("to", ["0x" + 40 * "0", OTHER])
def test_a_ticket_id_is_the_hash_of_its_submission(size: int, to: str) -> None:
    chance = random.Random(size)
    ticket = Submission(
        number=chance.randrange(2**64),
        sender=WHO,
        base_fee_wei=chance.randrange(2**40),
        to=to,
        call_value=0,
        deposit=chance.randrange(2**80),
        most_submission_fee=127,
        fee_refund=TOKEN,
        value_refund=OTHER,
        gas_limit=128,
        max_fee_wei=chance.randrange(2**30),
        data=chance.randbytes(size),
    )
    fields = [
        42161,
        ticket.number.to_bytes(32, "big"),
        bytes.fromhex(WHO[2:]),
        ticket.base_fee_wei,
        ticket.deposit,
        ticket.max_fee_wei,
        ticket.gas_limit,
        bytes.fromhex(to[2:]) if to == OTHER else b"",
        ticket.call_value,
        bytes.fromhex(OTHER[2:]),
        ticket.most_submission_fee,
        bytes.fromhex(TOKEN[2:]),
        ticket.data,
    ]
    assert ticket.ticket_id(42161) == "0x" + keccak(b"\x69" + rlp.encode(fields)).hex()


def test_aliases_wrap_around() -> None:
    assert alias("0x" + 40 * "0") == "0x1111000000000000000000000000000000001111"
    assert alias("0x" + 40 * "f") == "0x1111000000000000000000000000000000001110"


def test_refunds_go_to_deposits_in_the_order_in_which_they_lapsed() -> None:
    deposits = [deposit(3, 50, 300), deposit(1, 10, 100), deposit(2, 20, 200)]
    first, second = log_at(1), log_at(2)
    assert matched(deposits, [(30, first)]) == {1: first, 2: first}
    assert matched(deposits, [(30, first), (50, second)]) == {1: first, 2: first, 3: second}
    assert matched(deposits, [(9, first)]) == {}
    assert matched(deposits, []) == {}


def test_a_refund_says_how_it_was_told_from_others() -> None:
    mine, other, alike = deposit(1, 10, 100), deposit(2, 20, 200), deposit(3, 10, 300)
    name = f"{mine.origin}/1"
    assert (
        refund_words(mine, [mine]) == f"the only lapsed deposit of the account and token is {name}"
    )
    assert refund_words(mine, [mine, other]).endswith("with 1 other lapsed deposits")
    said = refund_words(mine, [mine, other, alike])
    assert said.endswith("cannot tell it from those of the same amount: 3")


def test_no_refund_is_given_out_twice() -> None:
    chance = random.Random(5)
    for _ in range(200):
        count = chance.randint(1, 6)
        deposits = [deposit(n, chance.randint(1, 9), chance.randint(1, 5)) for n in range(count)]
        payments = [(chance.randint(1, 9), log_at(n)) for n in range(chance.randint(0, 6))]
        given = matched(deposits, payments)
        units = sum(each.input_amount for each in deposits if each.deposit_id in given)
        assert units <= sum(paid for paid, _ in payments)


def test_a_burn_is_told_from_one_that_resembles_it() -> None:
    sent = bytes(range(250)) + bytes(126)
    filled = bytearray(sent)
    filled[12:44] = b"\x07" * 32
    filled[144:148] = b"\0\0\x03\xe8"
    filled[148 + 164 : 148 + 228] = b"\x09" * 64
    assert same_burn(sent, bytes(filled))
    for place in (9, 50, 80, 148 + 40, 148 + 70, 148 + 110, 148 + 140):
        forged = bytearray(filled)
        forged[place] ^= 1
        assert not same_burn(sent, bytes(forged)), place
    assert not same_burn(sent, bytes(filled) + b"\0")


@pytest.mark.parametrize("count", range(1, 12))
def test_every_leaf_is_proved(count: int) -> None:
    leaves = [keccak(text=str(n)) for n in range(count)]
    for index, leaf in enumerate(leaves):
        found = leaf
        for sibling in merkle.path(leaves, index):
            found = keccak(b"".join(sorted((found, sibling))))
        assert found == merkle.root(leaves)
    assert merkle.root([]) == merkle.EMPTY


def test_a_payment_belongs_to_the_log_beside_it() -> None:
    def paid(index: int, to: str = WHO, token: str = TOKEN) -> Log:
        return log_at(index, address=token, topics=(TRANSFER, topic(OTHER), topic(to)))

    logs = [paid(1), paid(2, OTHER), paid(4), paid(6), paid(5, WHO, OTHER)]
    assert paid_to(logs, TOKEN, WHO, before=5).index == 4
    assert paid_to(logs, TOKEN, WHO, after=1).index == 4
    assert paid_to(logs, TOKEN, WHO, after=6) is None
    assert paid_to(logs, TOKEN, WHO, before=1) is None


def test_types_are_read_from_signatures() -> None:
    assert types_of("f((uint256,bytes)[],(address,(bool))) ".strip()) == [
        "(uint256,bytes)[]",
        "(address,(bool))",
    ]
    assert types_of("f()") == []
    assert calldata("transfer(address,uint256)", WHO, 5)[:10] == "0xa9059cbb"


def test_a_log_of_another_shape_is_no_deposit() -> None:
    with pytest.raises(Transient):
        log_at(0, data=b"\1" * 31).values(FUNDS_DEPOSITED.data)


class _Silent:
    """A node that knows nothing."""

    host = "silent"

    async def request(self, method, params=()):
        return None

    async def batch(self, calls):
        return [[] for _ in calls]

    async def replies(self, calls):
        return []

    async def hand_over(self, raws, since):
        return []


async def test_what_a_node_does_not_know_is_asked_again() -> None:
    reader = Reader(ChainId(1), _Silent())
    for read in (reader.block(), reader.receipt_logs("0x01"), reader.block_by_hash("0x02")):
        with pytest.raises(Transient):
            await read
    assert await reader.logs(TOKEN, [None], 5, 4) == []


ANSWERS = {
    "/well": (200, '{"a": 1}'),
    "/unknown": (404, "{}"),
    "/busy": (429, "later"),
    "/down": (503, "{}"),
    "/no": (400, "no"),
    "/garbage": (200, "<html>"),
}


async def test_services_errors_are_told_apart() -> None:
    async def answer(request: web.Request) -> web.Response:
        status, text = ANSWERS[request.path]
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service = HttpService(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    try:
        assert await service.get("/well") == {"a": 1}
        assert await service.get("/unknown") is None
        for path in ("/busy", "/down", "/garbage"):
            with pytest.raises(Transient):
                await service.get(path)
        with pytest.raises(Rejected):
            await service.post("/no")
        await runner.cleanup()
        with pytest.raises(Transient):
            await service.get("/well")
    finally:
        await service.close()
        await runner.cleanup()


def settings_with(**more) -> Settings:
    return Settings(
        ethereum_rpc_url=SecretStr("http://127.0.0.1:1"),
        arbitrum_rpc_url=SecretStr("http://127.0.0.1:2"),
        bridge_services_url="http://127.0.0.1:3",
        **more,
    )


async def test_the_desks_caps_reach_the_bridges() -> None:
    usdc = f"eip155:1/erc20:{TOKEN}"
    async with bridges_of(settings_with(bridge_caps={"across": {usdc: 250}})) as bridges:
        caps = {each.traits.name: dict(each.traits.caps) for each in bridges}
    assert caps == {
        "across": {Asset(ChainId(1), TOKEN): 250},
        "arbitrum": {},
        "cctp": {},
        "hyperlane": {},
    }


@pytest.mark.parametrize("caps", [{"acros": {}}, {"cctp": {"eip155:1/slip44:60": 0}}])
async def test_a_cap_that_makes_no_sense_is_refused(caps) -> None:
    with pytest.raises(Rejected, match="SEP_BRIDGE_CAPS"):
        bridges_of(settings_with(bridge_caps=caps))


@pytest.mark.parametrize(("said", "ppm"), [(0, 0), (1, 100), ("1.3", 130), (0.001, 1), (14, 1_400)])
def test_a_fee_in_basis_points_is_read_exactly(said, ppm: int) -> None:
    assert cctp._ppm(said) == ppm


@pytest.mark.parametrize("said", [-1, 10_001, "much", "NaN"])
def test_a_fee_that_makes_no_sense_is_none(said) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        cctp._ppm(said)


def test_an_intent_may_name_every_bridge_there_is():
    assert set(get_args(BridgeName)) == {each.name for each in fields(BridgeTerms)}
