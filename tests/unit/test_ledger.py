"""The accounts close after every call, also after one that is refused."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ledger import Ledger

COUNTS = st.integers(0, 9)


@given(st.lists(COUNTS | st.tuples(COUNTS, COUNTS, COUNTS), max_size=50))
def test_the_accounts_close(steps: list[int | tuple[int, int, int]]) -> None:
    ledger = Ledger()
    for step in steps:
        before = astuple(ledger)
        if isinstance(step, int):
            ledger.receive(step)
        elif sum(step) <= ledger.in_flight:
            ledger.settle(*step)
        else:
            with pytest.raises(ValueError, match="in flight"):
                ledger.settle(*step)
            assert astuple(ledger) == before
        assert ledger.received == ledger.stored + ledger.merged + ledger.dead + ledger.in_flight
        assert min(astuple(ledger)) >= 0


def test_each_fate_has_its_own_account() -> None:
    ledger = Ledger()
    ledger.receive(10)
    ledger.receive()
    ledger.settle(stored=3, merged=2, dead=1)
    assert ledger == Ledger(received=11, stored=3, merged=2, dead=1, in_flight=5)
