"""The data part of a recipe."""

import pytest

from striate.data import DataOptions, Preprocessing
from striate.errors import InputError


def test_describes_the_preprocessing():
    options = DataOptions(channels=3, size=(40, 30), fit="pad", border=2, mean=(0.5,), std=(0.2, 0.3, 0.4))
    assert options.preprocessing() == Preprocessing(3, (40, 30), "pad", 2, (0.5,), (0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"val_fraction": 0.0}, "data: val_fraction must be above 0 and below 1, got 0.0"),
        ({"test_fraction": 1.0}, "data: test_fraction must be above 0 and below 1, got 1.0"),
        ({"val_fraction": float("nan")}, "data: val_fraction must be above 0 and below 1, got nan"),
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            "data: val_fraction and test_fraction must leave something to train on, got 0.5 and 0.5",
        ),
        ({"unreadable": "ignore"}, "data: unreadable must be 'error' or 'skip', got 'ignore'"),
        ({"channels": 4}, "preprocessing: channels must be 1 (grey) or 3 (RGB), got 4"),
    ],
)
def test_refuses_what_makes_no_sense(values, message):
    with pytest.raises(InputError) as caught:
        DataOptions(**values)
    assert str(caught.value) == message
