"""Every process names one tick alike."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.slots import slot

EVERY = st.sampled_from([0.5, 1.0, 60.0, 3600.0])


@given(number=st.integers(0, 10**8), every_s=EVERY, early=st.floats(0, 0.2), late=st.floats(0, 0.2))
def test_a_timer_somewhat_early_or_late_names_its_tick(
    number: int, every_s: float, early: float, late: float
) -> None:
    due = number * every_s
    assert slot(due - early * every_s, every_s) == due
    assert slot(due + late * every_s, every_s) == due


@given(number=st.integers(0, 10**8), every_s=EVERY)
def test_ticks_that_follow_each_other_have_names_of_their_own(number: int, every_s: float) -> None:
    assert slot((number + 1) * every_s, every_s) - slot(number * every_s, every_s) == every_s
