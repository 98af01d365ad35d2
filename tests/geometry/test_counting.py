"""Counts, judged by the figures of the chapter (section 5.4.1), of the paper, and by counting one by one."""

import itertools

import pytest

from striate.errors import InputError
from striate.geometry import (
    LayerCount,
    count_conv,
    count_dense,
    count_pool,
    count_rbf,
    count_subsample,
    make_window,
    output_size,
)

CONV, HALVE = make_window(2, 5), make_window(2, 2, stride=2)
C3 = (  # figure 5.11: a row for each map of S2, a column for each of C3
    "1000111001111011",
    "1100011100111101",
    "1110001110010111",
    "0111001111001011",
    "0011100111101101",
    "0001110011110111",
)
LENET = {
    "C1": count_conv((32, 32), CONV, 1, 6),
    "S2": count_subsample((28, 28), HALVE, 6),
    "C3": count_conv((14, 14), CONV, 6, 16, links=[[int(mark) for mark in column] for column in zip(*C3, strict=True)]),
    "S4": count_subsample((10, 10), HALVE, 16),
    "C5": count_conv((5, 5), CONV, 16, 120),
    "F6": count_dense(120, 84),
    "output": count_rbf(84, 10),
}


@pytest.mark.parametrize(
    ("layer", "neurons", "parameters", "connections"),
    [
        ("C1", 4704, 156, 122304),
        ("S2", 1176, 12, 5880),
        ("C3", 1600, 1516, 151600),
        ("S4", 400, 32, 2000),
        ("C5", 120, 48120, 48120),
        ("F6", 84, 10164, 10164),
    ],
)
def test_lenet5_of_the_chapter(layer, neurons, parameters, connections):
    count = LENET[layer]
    assert (count.neurons, count.parameters, count.connections) == (neurons, parameters, connections)


def test_lenet5_of_the_paper():
    """LeCun et al. 1998, section II.B: 340,908 connections but only 60,000 trainable parameters."""
    total = sum(LENET.values(), LayerCount(0, 0, 0, 0))
    assert (total.connections, total.parameters) == (340908, 60000)


def test_exercise_5_3():
    same = make_window(2, 3, padding="same")
    plain = count_conv((100, 100), same, 256, 256)
    squeezed = count_conv((100, 100), make_window(2, 1), 256, 64) + count_conv((100, 100), same, 64, 256)
    assert (plain.macs, plain.parameters) == (5898240000, 590080)
    assert (squeezed.macs, squeezed.parameters) == (1638400000, 164160)


@pytest.mark.parametrize("words", [{}, {"upsample": 2}, {"upsample": 3, "padding": ((1, 2),), "dilation": 2}])
@pytest.mark.parametrize("groups", [1, 2])
def test_macs_are_the_products_that_are_needed(words, groups):
    n, m, d, p = 5, 3, 4, 6
    window = make_window(1, m, **words)
    outputs, u, low = output_size((n,), window)[0], window.upsample[0], window.padding[0][0]
    taps = sum((o + k * window.dilation[0] - low) % u == 0 for o, k in itertools.product(range(outputs), range(m)))
    count = count_conv((n,), window, d, p, groups=groups)
    assert count.macs == taps * d * p // groups
    assert count.connections == count.macs + p * outputs
    assert count_conv((n,), window, d, p, groups=groups, bias=False).connections == count.macs


def test_pool_has_no_parameters():
    assert count_pool((7, 8), make_window(2, 3, stride=2), 4, ceil=True) == LayerCount(48, 0, 432, 0)
    assert count_pool((7, 8), make_window(2, 3, stride=2), 4) == LayerCount(36, 0, 324, 0)


def test_trainable_centres_are_parameters():
    assert count_rbf(84, 10, trainable=True) == LayerCount(10, 840, 840, 840)


def test_groups_must_divide():
    with pytest.raises(InputError) as caught:
        count_conv((8,), make_window(1, 3), 4, 6, groups=4)
    assert str(caught.value) == "groups=4 must divide the input channels (4) and the output channels (6)"
