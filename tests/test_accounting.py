"""The account of a group survives its bits, and sums over groups do not depend on how they were divided."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.codes import PolarCode, design_code
from caligo.errors import LeakageCapError
from caligo.jobs.accounting import AccountedBlock, GroupAccount, LeakageBudget, Totals
from caligo.jobs.plan import Group, plan_layout
from caligo.reconciliation.leakage import Leakage, TwoWayLeakage
from caligo.reconciliation.verification import TAG_BITS
from caligo.states import KeyState

LAYOUT = plan_layout(40 * 65536 + 300, 65536)
CODES: dict[tuple[float, int], PolarCode] = {
    (qber, number): design_code(
        segment.block_length, payload_length=segment.payload_length, qber=qber, efficiency=1.6, check="crc16"
    )
    for number, segment in enumerate(LAYOUT.segments)
    for qber in (0.02, 0.03)
}


def code_of(qber: float, segment: int) -> PolarCode:
    return CODES[qber, segment]


def account_of(seed: int) -> GroupAccount:
    """A group with everything that can be in an account, drawn from a seed."""
    rng = np.random.default_rng(seed)
    group = LAYOUT.group(int(rng.integers(LAYOUT.group_count)))
    blocks = []
    for index in range(group.first_block, group.first_block + group.blocks):
        number = int(index >= LAYOUT.segments[0].blocks)
        qber = (0.02, 0.03)[int(rng.integers(2))]
        state = KeyState(int(rng.choice([KeyState.CONFIRMED, KeyState.UNCORRECTED, KeyState.UNCONFIRMED])))
        segment = LAYOUT.segments[number]
        disclosed = [int(bits) for bits in rng.integers(0, 2**32, 6)]
        blocks.append(
            AccountedBlock(
                index=index,
                state=state,
                block_length=segment.block_length,
                payload_bits=segment.payload_length,
                leakage=TwoWayLeakage(Leakage(*disclosed[:4]), *disclosed[4:]),
                true_errors=int(rng.integers(segment.payload_length)),
                elapsed_ns=int(rng.integers(2**62)),
                wrong=bool(rng.integers(2)),
                rounds=int(rng.integers(2**32)),
                given_up=bool(rng.integers(2)),
                attempts=int(rng.integers(1, 6)),
                code=CODES[qber, number],
                design_qber=qber,
            )
        )
    return GroupAccount(tuple(blocks), announced=int(rng.integers(9)), told_apart=bool(rng.integers(2)))


seeds = st.integers(0, 2**32)


def group_of(account: GroupAccount) -> Group:
    return next(group for group in LAYOUT.groups() if group.first_block == account.blocks[0].index)


@given(seeds)
def test_an_account_comes_back_from_its_bytes(seed: int) -> None:
    account = account_of(seed)
    data = account.to_bytes()
    assert GroupAccount.from_bytes(data, group_of(account), LAYOUT, code_of) == account
    assert len(data) <= 16 + 16 + 46 * len(account.blocks)


@given(seeds, st.integers(0, 100))
def test_bytes_that_are_not_the_groups_are_refused(seed: int, cut: int) -> None:
    account = account_of(seed)
    data = account.to_bytes()
    with pytest.raises(ValueError, match=r"whole|buffer"):
        GroupAccount.from_bytes(data[: len(data) - 1 - cut], group_of(account), LAYOUT, code_of)


@given(st.lists(st.tuples(seeds, st.integers(0, 2)), max_size=4))
def test_totals_do_not_depend_on_how_the_groups_were_divided(drawn: list[tuple[int, int]]) -> None:
    shares = [(account_of(seed), part) for seed, part in drawn]
    whole = Totals()
    for group, _ in shares:
        whole.add(group)
    parts = [Totals() for _ in range(3)]
    for group, part in reversed(shares):
        parts[part].add(group)
    first, second, third = parts
    assert first + (second + third) == (third + first) + second == whole == Totals() + whole
    assert list((third + second + first).codes.items()) == list(whole.codes.items())
    assert whole.epsilon == sum((group.epsilon for group, _ in shares), Fraction(0))


@given(seeds, st.integers(1, 2**40))
def test_a_cap_is_never_exceeded_by_what_it_allows(seed: int, cap: int) -> None:
    account = account_of(seed)
    windows = list(LAYOUT.windows_of(group_of(account)))
    budget = LeakageBudget(cap)
    allowed = budget.windows_within(account, windows)
    blocks = sum(window.blocks for window in windows[:allowed])
    bare = [b.leakage.leakage_bits - b.leakage.opened.verification_bits for b in account.blocks]
    spent = sum(bare[:blocks]) + (TAG_BITS if allowed else 0)
    assert spent <= cap
    assert budget.exceeded == (allowed < len(windows))
    if budget.exceeded:
        following = sum(bare[blocks : blocks + windows[allowed].blocks]) + (0 if allowed else TAG_BITS)
        assert spent + following > cap
        with pytest.raises(LeakageCapError):
            budget.require_unspent(LAYOUT.blocks, Totals())
    assert LeakageBudget(0).windows_within(account, windows) == len(windows)
