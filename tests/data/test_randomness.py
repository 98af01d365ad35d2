"""Keyed randomness: pinned to typed values, to a second implementation, and to what random numbers must look like."""

import hashlib

import numpy as np
import pytest

from striate.data._randomness import sample_keys, shuffled, uniform

KEYS = sample_keys([f"train/{k:05}" for k in range(20_000)])


def reference(seed, epoch, key, stream):
    """SplitMix64's finaliser, twice, in Python's whole numbers."""

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    context = hashlib.blake2b(f"{seed}/{epoch}/{stream}".encode(), digest_size=16).digest()
    first, second = int.from_bytes(context[:8], "little"), int.from_bytes(context[8:], "little")
    return (mix((mix(key ^ first) + second) % 2**64) >> 11) / 2**53


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, "flip"), (-3, 7, "crop-x"), (2**70, 10**6, "é")])
def test_equals_the_same_hash_in_whole_numbers(seed, epoch, stream):
    keys = KEYS[:50]
    assert uniform(seed, epoch, keys, stream).tolist() == [reference(seed, epoch, int(k), stream) for k in keys]


def test_values_never_change_between_versions():
    keys = sample_keys(["train/00000", "daisy/1.jpg", ""])
    assert keys.tolist() == [13937786127953185667, 5235888149849518895, 13020603013274838756]
    assert uniform(0, 0, keys, "augment/flip").tolist() == [0.60861936526592, 0.8128975979495239, 0.5498685716326386]
    assert shuffled(3, 1, sample_keys([str(k) for k in range(10)])).tolist() == [7, 8, 3, 9, 4, 5, 0, 1, 6, 2]


def test_a_sample_does_not_depend_on_its_batch():
    whole = uniform(1, 2, KEYS, "shear")
    some = np.array([19_999, 5, 700, 5])
    np.testing.assert_array_equal(uniform(1, 2, KEYS[some], "shear"), whole[some])
    np.testing.assert_array_equal(uniform(1, 2, KEYS[::-3], "shear"), whole[::-3])  # not contiguous
    assert uniform(1, 2, KEYS[:0], "shear").shape == (0,)
    assert uniform(1, 2, KEYS[:1], "shear").dtype == np.float64


def test_is_uniform():
    values = uniform(0, 0, KEYS, "any")
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 200) ** 2 / 200).sum()  # 99 degrees of freedom: mean 99, standard deviation 14
    assert 50 < chi_square < 160


@pytest.mark.parametrize("other", [(0, 0, "b"), (0, 1, "a"), (1, 0, "a"), (-1, 0, "a"), (2**64, 0, "a")])
def test_streams_epochs_and_seeds_are_independent(other):
    seed, epoch, stream = other
    a, b = uniform(0, 0, KEYS, "a"), uniform(seed, epoch, KEYS, stream)
    # of 20,000 independent pairs the correlation is within 5 / sqrt(20,000), and the joint histogram is flat
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.035
    counts = np.histogram2d(a, b, bins=10, range=[(0, 1), (0, 1)])[0]
    assert ((counts - 200) ** 2 / 200).sum() < 160


def test_keys_in_sequence_are_mixed_as_well():
    values = uniform(0, 0, np.arange(20_000, dtype=np.uint64), "a")
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.035


def test_shuffled_is_a_permutation_that_changes_with_the_epoch():
    first, second = shuffled(0, 0, KEYS), shuffled(0, 1, KEYS)
    assert sorted(first.tolist()) == list(range(len(KEYS)))
    assert first.dtype == np.int64
    assert (first == second).mean() < 0.01
    assert shuffled(0, 0, KEYS[:0]).tolist() == []


def test_the_order_of_two_samples_depends_on_them_alone():
    order = shuffled(5, 3, KEYS)
    half = np.sort(order[::2])
    expected = order[np.isin(order, half)].tolist()
    assert half[shuffled(5, 3, KEYS[half])].tolist() == expected


def test_names_that_are_no_utf8_have_keys():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert sample_keys([name])[0] == int.from_bytes(hashlib.blake2b(b"caf\xe9.png", digest_size=8).digest(), "little")
