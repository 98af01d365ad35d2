"""Which samples an epoch is made of: counted against what the sampling promises, in any order of the samples."""

from collections import Counter

import numpy as np
import pytest

from striate.data import ArraySplit, draws, sample_keys, shuffled
from striate.data._sampling import balanced

COUNTS = (2, 50, 9)
LABELS = np.repeat(range(3), COUNTS)
KEYS = sample_keys([f"picture {k}" for k in range(len(LABELS))])


def test_all_is_every_sample_once_in_the_shuffled_order() -> None:
    split = ArraySplit([f"picture {k}" for k in range(len(LABELS))], LABELS, np.zeros((61, 1, 2, 2), np.uint8))
    drawn = draws(split, "all", 3, 5)
    assert drawn.rows.tolist() == shuffled(3, 5, KEYS).tolist()
    assert (drawn.keys == KEYS[drawn.rows]).all()
    assert (draws(split, "balanced", 3, 5).rows == balanced(3, 5, KEYS, LABELS).rows).all()


@pytest.mark.parametrize("epoch", range(4))
def test_balanced_draws_classes_and_their_samples_equally_often(epoch: int) -> None:
    drawn = balanced(0, epoch, KEYS, LABELS)
    assert len(drawn.rows) == len(LABELS)
    classes = np.bincount(LABELS[drawn.rows], minlength=3)
    assert classes.max() - classes.min() <= 1
    for label, size in enumerate(COUNTS):
        times = np.bincount(drawn.rows, minlength=len(LABELS))[label == LABELS]
        assert len(times) == size
        assert times.max() - times.min() <= 1
    assert len(set(drawn.keys.tolist())) == len(drawn.keys), "each draw of a sample is augmented differently"
    first = [k for k, (row, key) in enumerate(zip(drawn.rows, drawn.keys, strict=True)) if key == KEYS[row]]
    assert set(drawn.rows[first]) == set(drawn.rows), "the first draw of a sample has its own key"


def test_balanced_draws_change_from_epoch_to_epoch_and_reach_every_sample() -> None:
    seen = Counter[int]()
    for epoch in range(100):
        seen.update(balanced(0, epoch, KEYS, LABELS).rows.tolist())
    large = [seen[k] for k in np.flatnonzero(LABELS == 1)]
    # 100 epochs of 20 or 21 draws out of 50: 41 each, standard deviation about 5
    assert min(large) > 20
    assert max(large) < 62
    totals = np.bincount(LABELS, weights=[seen[k] for k in range(len(LABELS))])
    assert totals.sum() == 100 * len(LABELS)
    assert abs(totals - 100 * len(LABELS) / 3).max() < 25, "which class has one more is not always the same"


def test_the_draws_are_a_function_of_seed_and_epoch_and_of_the_samples_not_of_their_order() -> None:
    one = balanced(1, 2, KEYS, LABELS)
    again = balanced(1, 2, KEYS, LABELS)
    assert (one.rows == again.rows).all()
    assert (one.rows != balanced(1, 3, KEYS, LABELS).rows).any()
    assert (one.rows != balanced(2, 2, KEYS, LABELS).rows).any()
    mixed = np.random.default_rng(0).permutation(len(KEYS))
    other = balanced(1, 2, KEYS[mixed], LABELS[mixed])
    assert (mixed[other.rows] == one.rows).all()
    assert (other.keys == one.keys).all()


def test_a_class_without_samples_takes_no_part_and_one_sample_is_drawn() -> None:
    labels = np.array([4, 4, 9])
    drawn = balanced(0, 0, KEYS[:3], labels)
    assert sorted(np.bincount(labels[drawn.rows], minlength=10)[[4, 9]].tolist()) == [1, 2]
    assert balanced(0, 0, KEYS[:1], np.array([7])).rows.tolist() == [0]
