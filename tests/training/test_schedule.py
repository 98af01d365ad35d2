"""Learning rates against hand-computed values."""

import pytest

from striate.training import ScheduleOptions
from striate.training._schedule import factor


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
    ],
)
def test_factor(options: ScheduleOptions, epoch: float, expected: float) -> None:
    assert factor(options, epoch, 10) == pytest.approx(expected, abs=1e-12)


def test_warm_up_longer_than_the_run_only_rises() -> None:
    options = ScheduleOptions("cosine", warmup=20.0)
    assert [factor(options, e, 10) for e in (0, 5, 9)] == pytest.approx([0.0, 0.25, 0.45])
