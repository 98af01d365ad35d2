"""Every figure that the papers print of our networks, counted on the networks as they are built."""

import pytest

from striate.errors import InputError
from striate.insight import _published, check_published
from striate.models import Published, names

# more than a thousand layers: several seconds each
LONG = {"resnet-cifar-1202", "preact-resnet-cifar-1001"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in names()])
def test_figures_agree_or_their_departure_is_stated(name: str) -> None:
    for checked in check_published(name):
        assert checked.agrees, checked
        assert (checked.figure.ours is None) == (not checked.figure.departs), checked.figure


def figures(*rows: Published) -> object:
    return lambda name: list(rows)


def test_a_wrong_figure_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Published("lenet5", "parameters", 60_001, "here"),
        Published("lenet5", "parameters", 60_001, "here", tolerance=1),
        Published("lenet5", "output_size", (6, 28, 27), "here", layer="C1"),
        Published("lenet5", "output_size", (6, 28, 28), "here", layer="C9"),
        Published("lenet5", "macs", 5, "here", ours=328_096, departs="for a reason"),
        Published("lenet5", "macs", 328_096, "here", ours=5, departs="for a reason"),
        Published("lenet5", "parameters", 49_836, "here", without=("F6",)),
        Published("lenet5", "neurons", 8_094, "here"),
    ]
    monkeypatch.setattr(_published, "published", figures(*rows))
    assert [checked.agrees for checked in check_published("lenet5")] == [
        False,
        True,
        False,
        False,
        True,
        False,
        True,
        True,
    ]
    assert check_published("lenet5")[3].ours is None


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="did you mean 'lenet5'"):
        check_published("lenet")
    assert check_published("convnet") == []
