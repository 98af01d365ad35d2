"""Learning rates against hand-computed values."""

import pytest

from striate.training import ScheduleOptions
from striate.training._schedule import drops, factor


@pytest.mark.parametrize(
    ("options", "epoch", "expected"),
    [
        (ScheduleOptions("cosine"), 0.0, 1.0),
        (ScheduleOptions("cosine"), 5.0, 0.5),
        (ScheduleOptions("cosine"), 10.0, 0.0),
        (ScheduleOptions("cosine", final=0.2), 5.0, 0.6),
        (ScheduleOptions("cosine", warmup=2.0), 0.5, 0.25),
        (ScheduleOptions("cosine", warmup=2.0), 2.0, 1.0),
        (ScheduleOptions("cosine", warmup=2.0), 6.0, 0.5),
        (ScheduleOptions("step", milestones=(3.0, 6.0)), 2.9, 1.0),
        (ScheduleOptions("step", milestones=(3.0, 6.0)), 3.0, 0.1),
        (ScheduleOptions("step", milestones=(3.0, 6.0), gamma=0.5), 7.0, 0.25),
        (ScheduleOptions("step", milestones=(3.0,), warmup=1.0), 0.5, 0.5),
        (ScheduleOptions("constant"), 9.9, 1.0),
        (ScheduleOptions("polynomial"), 2.5, 0.75),
        (ScheduleOptions("polynomial", power=0.5), 6.4, 0.6),
        (ScheduleOptions("polynomial", power=2.0, final=0.5), 5.0, 0.625),
        (ScheduleOptions("polynomial", warmup=2.0), 6.0, 0.5),
        (ScheduleOptions("polynomial", power=0.5), 11.0, 0.0),
        (ScheduleOptions("exponential", gamma=0.94, every=2.0), 1.99, 1.0),
        (ScheduleOptions("exponential", gamma=0.94, every=2.0), 2.0, 0.94),
        (ScheduleOptions("exponential", gamma=0.94, every=2.0), 9.0, 0.94**4),
        (ScheduleOptions("exponential", gamma=0.5, final=0.3), 9.0, 0.3),
        (ScheduleOptions("step", milestones=(3.0,), warmup=1.5, warmup_rate=0.1), 0.2, 0.1),
        (ScheduleOptions("step", milestones=(3.0,), warmup=1.5, warmup_rate=0.1), 1.49, 0.1),
        (ScheduleOptions("step", milestones=(3.0,), warmup=1.5, warmup_rate=0.1), 1.5, 1.0),
    ],
)
def test_factor(options: ScheduleOptions, epoch: float, expected: float) -> None:
    assert factor(options, epoch, 10) == pytest.approx(expected, abs=1e-12)


def test_warm_up_longer_than_the_run_only_rises() -> None:
    options = ScheduleOptions("cosine", warmup=20.0)
    assert [factor(options, e, 10) for e in (0, 5, 9)] == pytest.approx([0.0, 0.25, 0.45])


@pytest.mark.parametrize(
    ("errors", "wait", "expected"),
    [
        ([], 1, 0),
        ([0.5], 1, 0),
        ([0.5, 0.4, 0.3], 1, 0),
        ([0.5, 0.5], 1, 1),  # no lower: equal is no progress
        ([0.5, 0.6, 0.4, 0.4, 0.4], 2, 1),
        ([0.5, 0.6, 0.6, 0.6, 0.6], 2, 2),  # each drop waits anew
        ([0.5, 0.6, 0.6, 0.55, 0.6], 2, 2),  # lower than last, but not than the best
        ([0.5, 0.6, 0.6, 0.4, 0.6], 2, 1),
    ],
)
def test_drops_are_counted_from_the_history(errors: list[float], wait: int, expected: int) -> None:
    assert drops(errors, wait) == expected


def test_a_plateau_lowers_the_rate_down_to_its_bound() -> None:
    options = ScheduleOptions("plateau", wait=2, final=1e-2, warmup=1.0)
    flat = [0.5] * 20
    assert factor(options, 0.25, 10, []) == 0.25, "warm-up comes first"
    assert [factor(options, k, 30, flat[:k]) for k in (1, 2, 3, 4, 5, 7, 20)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]
    )
