"""The normal form and the user's words for it."""

import numpy as np
import pytest

from striate.errors import InputError
from striate.geometry import Window, make_window, output_size


def test_words_become_one_entry_per_axis():
    window = make_window(2, 3, stride=(2, 1), padding=1, dilation=2)
    assert window == Window((3, 3), (2, 1), ((1, 1), (1, 1)), (2, 2), (1, 1))


@pytest.mark.parametrize(
    ("rank", "padding", "pairs"),
    [
        (1, 2, ((2, 2),)),
        (2, 0, ((0, 0), (0, 0))),
        (2, (1, 2), ((1, 1), (2, 2))),  # one integer per axis, not (low, high)
        (2, ((1, 2), (3, 4)), ((1, 2), (3, 4))),
        (2, [[1, 2], 3], ((1, 2), (3, 3))),
        (2, -1, ((-1, -1), (-1, -1))),
        (1, ((-1, 2),), ((-1, 2),)),
        (3, np.array([1, 2, 3]), ((1, 1), (2, 2), (3, 3))),
        (2, "valid", ((0, 0), (0, 0))),
        (2, "narrow", ((0, 0), (0, 0))),
        (2, "full", ((2, 2), (3, 3))),
        (2, "wide", ((2, 2), (3, 3))),
        (2, "same", ((1, 1), (1, 2))),  # the kernel of 4 needs 3 zeros: the extra one is at the high end
        (2, "equal", ((1, 1), (1, 2))),
    ],
)
def test_padding(rank, padding, pairs):
    window = make_window(rank, (3, 4, 1)[:rank], padding=padding)
    assert window.padding == pairs
    assert all(type(end) is int for pair in window.padding for end in pair)


@pytest.mark.parametrize("kernel", range(1, 6))
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_is_exercise_5_7(kernel, dilation):
    low, high = make_window(1, kernel, padding="same", dilation=dilation).padding[0]
    assert low + high == (kernel - 1) * dilation
    assert high - low in {0, 1}


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", range(1, 5))
@pytest.mark.parametrize("kernel", range(1, 5))
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_gives_size_over_stride_rounded_up(size, stride, kernel, dilation):
    window = make_window(1, kernel, stride=stride, padding="same", dilation=dilation, size=(size,))
    assert output_size((size,), window) == (-(-size // stride),)
    low, high = window.padding[0]
    assert high - low in {0, 1}


def test_same_counts_upsampled_inputs():
    window = make_window(1, 3, padding="same", upsample=2, size=(4,))
    assert output_size((4,), window) == (7,)


def test_effective_kernel_is_equation_5_47():
    assert make_window(3, (3, 1, 5), dilation=(2, 7, 3)).effective_kernel == (5, 1, 13)


def test_symmetric_padding_is_none_where_a_library_cannot_follow():
    assert make_window(2, 3, padding=(1, 2)).symmetric_padding == (1, 2)
    assert make_window(2, 4, padding="same").symmetric_padding is None
    assert make_window(2, 3, padding=-1).symmetric_padding is None


def test_equal_windows_are_equal_and_hash_alike():
    a, b = make_window(2, 3, padding="same"), make_window(2, [3, 3], padding=1)
    assert a == b
    assert hash(a) == hash(b)
    assert a != make_window(2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"padding": "sme"}, "unknown padding 'sme'; did you mean 'same'?"),
        ({"padding": "zzz"}, "unknown padding 'zzz'; known: equal, full, narrow, same, valid, wide"),
        ({"stride": 0}, "stride must be an integer of 1 or more, or one per axis (2 axes), got 0"),
        ({"stride": 1.0}, "stride must be an integer of 1 or more, or one per axis (2 axes), got 1.0"),
        ({"stride": True}, "stride must be an integer of 1 or more, or one per axis (2 axes), got True"),
        ({"dilation": (1, 2, 3)}, "dilation must be an integer of 1 or more, or one per axis (2 axes), got (1, 2, 3)"),
        ({"kernel": (3, -1)}, "kernel must be an integer of 1 or more, or one per axis (2 axes), got (3, -1)"),
        ({"kernel": "33"}, "kernel must be an integer of 1 or more, or one per axis (2 axes), got '33'"),
        ({"upsample": None}, "upsample must be an integer of 1 or more, or one per axis (2 axes), got None"),
        ({"padding": "same", "stride": 2}, "padding 'same' with stride (2, 2) depends on the input size: give size="),
        (
            {"padding": (1, 2, 3)},
            "padding must be a word ('valid', 'same', 'full'), an integer, or per axis an integer or a (low, high) pair"
            " (2 axes), got (1, 2, 3)",
        ),
        (
            {"padding": ((1, 2, 3), (1, 2, 3))},
            "padding must be a word ('valid', 'same', 'full'), an integer, or per axis an integer or a (low, high) pair"
            " (2 axes), got ((1, 2, 3), (1, 2, 3))",
        ),
    ],
)
def test_wrong_words(words, message):
    with pytest.raises(InputError) as caught:
        make_window(2, **{"kernel": 3, **words})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": ()}, "a window needs at least one axis, got no entries"),
        ({"stride": (1, 1)}, "stride needs one entry per axis of the kernel (3,), got (1, 1)"),
        ({"dilation": (0,)}, "dilation must be 1 or more on every axis, got (0,)"),
        ({"padding": ((1,),)}, "padding needs one (low, high) pair per axis, got ((1,),)"),
        ({"upsample": [1]}, "upsample must be a tuple, one entry per axis, got [1]; see make_window"),
    ],
)
def test_window_is_validated(fields, message):
    good = {"kernel": (3,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,), "upsample": (1,)}
    with pytest.raises(InputError) as caught:
        Window(**{**good, **fields})
    assert str(caught.value) == message
