"""Why something was not allowed: one enum, from which documentation and API are generated."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Denial(StrEnum):
    """The code of a refusal; `MEANING` says each in words."""

    TRANSACTION_LIMIT = "transaction_limit"
    WINDOW_LIMIT = "window_limit"
    TOTAL_LIMIT = "total_limit"
    GAS_BUDGET = "gas_budget"
    POSITION_LIMIT = "position_limit"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    CONTRACT_NOT_LISTED = "contract_not_listed"
    SELECTOR_NOT_LISTED = "selector_not_listed"
    ASSET_NOT_LISTED = "asset_not_listed"
    RECIPIENT_NOT_LISTED = "recipient_not_listed"
    SPENDER_NOT_LISTED = "spender_not_listed"
    UNREADABLE_CALL = "unreadable_call"
    NO_PRICE = "no_price"
    NO_MARK = "no_mark"
    NOT_A_CANCEL = "not_a_cancel"
    HALTED = "halted"
    REDUCING_ONLY = "reducing_only"
    NOT_CLEARED = "not_cleared"


MEANING: Final[Mapping[Denial, str]] = {
    Denial.TRANSACTION_LIMIT: "one transaction would move more than a limit allows",
    Denial.WINDOW_LIMIT: "a rolling window would hold more than a limit allows",
    Denial.TOTAL_LIMIT: "the sum over all time would exceed a limit",
    Denial.GAS_BUDGET: "the gas it may pay would exceed a budget",
    Denial.POSITION_LIMIT: "the strategy would hold more than a limit allows",
    Denial.DAILY_LOSS: "the strategy has lost as much since midnight (UTC) as a limit allows",
    Denial.DRAWDOWN: "the strategy is as far below its best result as a limit allows",
    Denial.CONTRACT_NOT_LISTED: "the contract to be called is not on the list",
    Denial.SELECTOR_NOT_LISTED: "the function to be called is not on the list",
    Denial.ASSET_NOT_LISTED: "an asset is not on the list",
    Denial.RECIPIENT_NOT_LISTED: "proceeds would go to an address that is not on the list",
    Denial.SPENDER_NOT_LISTED: "a spender to be approved is not on the list",
    Denial.UNREADABLE_CALL: "a list asks for what the call's bytes do not plainly say",
    Denial.NO_PRICE: "a limit counts value, and an asset has no price at this block",
    Denial.NO_MARK: "a loss limit applies, and the strategy's result is not known yet",
    Denial.NOT_A_CANCEL: "a cancel does more than use its nonce up",
    Denial.HALTED: "a halt covers it: nothing is sent",
    Denial.REDUCING_ONLY: "a halt covers it: only what reduces exposure is sent",
    Denial.NOT_CLEARED: "the signer was asked for something that was not cleared, or not by the "
    "limits as they stand",
}
