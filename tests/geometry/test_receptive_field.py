"""Receptive fields, judged by the sets of inputs themselves: each unit's set is put together from those it reads."""

import random
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, floor

import pytest

from striate.errors import InputError
from striate.geometry import Field

Inputs = Callable[[int], frozenset[int]]
EXTENT, UNITS = 64, 16


def read(inputs: Inputs, places: Callable[[int], list[int]]) -> Inputs:
    """The sets of a map whose unit o reads the units places(o)."""
    return lru_cache(maxsize=None)(lambda o: frozenset().union(*map(inputs, places(o))))


def draw_window(draw: random.Random) -> dict[str, int]:
    return {
        "kernel": draw.randint(1, 5),
        "stride": draw.randint(1, 3),
        "low": draw.randint(-2, 4),
        "dilation": draw.randint(1, 3),
        "upsample": draw.choice([1, 1, 2, 3]),
    }


def seen(o: int, words: dict[str, int]) -> list[int]:
    """The definition: o * stride + k * dilation - low = i * upsample."""
    taps = {o * words["stride"] + k * words["dilation"] - words["low"] for k in range(words["kernel"])}
    return [i for i in range(min(taps | {0}), max(taps | {0}) + 1) if i * words["upsample"] in taps]


def between(o: int, ratio: Fraction, shift: Fraction) -> list[int]:
    """The neighbours of the place of linear interpolation."""
    return sorted({floor(o * ratio + shift), ceil(o * ratio + shift)})


def binned(o: int, ratio: Fraction) -> list[int]:
    return list(range(floor(o * ratio), ceil((o + 1) * ratio)))


def chain(draw: random.Random, field: Field, inputs: Inputs, steps: int) -> tuple[Field, Inputs]:
    for _ in range(steps):
        kind = draw.choice(["window", "window", "window", "linear", "bins"])
        if kind == "window":
            words = draw_window(draw)
            field, inputs = field.window(**words, units=UNITS), read(inputs, partial(seen, words=words))
        elif kind == "linear":
            ratio = Fraction(draw.randint(1, 4), draw.randint(1, 4))
            shift = ratio / 2 - Fraction(1, 2)
            field = field.resample(ratio, shift, (0, 1), units=UNITS)
            inputs = read(inputs, partial(between, ratio=ratio, shift=shift))
        else:
            ratio = Fraction(draw.randint(3, 9), draw.randint(1, 5))
            field = field.bins(ratio.numerator, ratio.denominator)
            inputs = read(inputs, partial(binned, ratio=ratio))
    return field, inputs


def agree(field: Field, inputs: Inputs) -> None:
    """The field's intervals are the hulls of the sets, before the map and far behind it too."""
    for unit in [*range(-5, UNITS), 100, 101]:
        found = inputs(unit)
        assert field.interval(unit) == ((min(found), max(found)) if found else None), unit


@pytest.mark.parametrize("seed", range(60))
def test_chains_of_windows_and_resampling(seed: int) -> None:
    draw = random.Random(seed)
    agree(*chain(draw, Field(EXTENT), lambda o: frozenset({o}), draw.randint(1, 4)))


@pytest.mark.parametrize("seed", range(30))
def test_branches_of_one_stride(seed: int) -> None:
    draw = random.Random(seed)
    field, inputs = chain(draw, Field(EXTENT), lambda o: frozenset({o}), 2)
    words = draw_window(draw)
    other = {**words, "kernel": draw.randint(1, 7), "low": draw.randint(0, 3)}
    joined = field.window(**words, units=UNITS).join(field.window(**other, units=UNITS), units=UNITS)
    a, b = read(inputs, lambda o: seen(o, words)), read(inputs, lambda o: seen(o, other))
    agree(joined, lambda o: a(o) | b(o))
    assert joined.exact


def test_branches_of_one_stride_and_different_periods() -> None:
    two, three = Field(60).bins(2, 1).bins(1, 2), Field(60).bins(3, 1).bins(1, 3)
    assert (len(two.phases), len(three.phases), int(two.stride), int(three.stride)) == (2, 3, 1, 1)
    inputs = read(
        lambda o: frozenset({2 * (o // 2), 2 * (o // 2) + 1, *range(3 * (o // 3), 3 * (o // 3) + 3)}), lambda o: [o]
    )
    agree(two.join(three, units=60), inputs)


def test_the_fields_of_vgg_16() -> None:
    """The last pooling of VGG-16 sees 212 inputs and its first dense layer, as a convolution, 404."""
    field = Field(224)
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            field = field.window(3, units=1, low=1)
        field = field.window(2, units=1, stride=2)
    assert (field.size, int(field.stride)) == (212, 32)
    assert field.window(7, units=1).size == 404


def test_dilation_is_the_extent() -> None:
    assert Field(9).window(3, units=1, dilation=4).size == 9
    field = Field(99)  # Yu and Koltun 2016, table 1: the basic context module sees 67 x 67
    for dilation in (1, 1, 2, 4, 8, 16, 1, 1):
        field = field.window(3, units=9, dilation=dilation)
    assert field.size == 1 + 2 * (1 + 1 + 2 + 4 + 8 + 16 + 1 + 1)


def test_a_transposed_convolution_leaves_units_that_see_nothing() -> None:
    field = Field(8).window(1, units=15, upsample=2)
    assert [field.interval(unit) for unit in range(4)] == [(0, 0), None, (1, 1), None]
    assert field.stride == Fraction(1, 2)
    assert field.window(2, units=14).size == 1


def test_branches_that_do_not_align_are_bounded() -> None:
    slow, fast = Field(30).window(1, units=10, stride=3), Field(30).window(3, units=10, stride=2)
    joined = slow.join(fast, units=10)
    assert not joined.exact
    for unit in range(10):
        low, high = joined.interval(unit) or (0, -1)
        assert low <= min(3 * unit, 2 * unit)
        assert high >= max(3 * unit, 2 * unit + 2)


def test_a_ratio_of_many_phases_is_bounded() -> None:
    field = Field(7919).resample(Fraction(7919, 7907), Fraction(0), (0, 1), units=7907)
    assert not field.exact
    for unit in (0, 1000, 7906):
        low, high = field.interval(unit) or (0, -1)
        assert low <= floor(unit * Fraction(7919, 7907)) <= high


def test_what_depends_on_everything() -> None:
    field = Field(20).window(3, units=10, stride=2, low=1)
    assert field.span(10).interval(7) == (0, 19)
    assert field.span(10).stride == 20
    assert field.span(10, keep_stride=True).stride == 2
    whole = Field.whole(20, stride=Fraction(2))
    assert (whole.size, whole.interval(5), whole.exact) == (20, (0, 19), True)
    assert whole.window(3, units=4, low=1).size == 20
    gated = field.join(whole, units=10)
    assert (gated.size, int(gated.stride), gated.exact) == (20, 2, True)
    assert not field.join(field.span(3), units=10).exact
    assert field.bound().exact is False


def test_phases_advance_by_whole_inputs() -> None:
    with pytest.raises(InputError, match="must advance by whole inputs"):
        Field(4, stride=Fraction(1, 2))
