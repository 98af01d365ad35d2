"""Labels that are likely wrong: planted in the handwritten digits, found, the likeliest first."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from striate.data.doctor import likely_errors
from striate.errors import InputError


def with_swapped(share, seed=0, count=900):
    """Digits of which some have another label; the pixels, the labels and the rows that are wrong."""
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels[:count], labels[:count].copy()
    generator = np.random.default_rng(seed)
    wrong = generator.choice(count, round(share * count), replace=False)
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
    return pixels, labels, set(wrong.tolist())


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_swapped_labels_are_found(share):
    """Precision at n, the number of wrong labels: 3 in 4 at least; among the first 2 n are nearly all of them."""
    pixels, labels, wrong = with_swapped(share)
    found = likely_errors(pixels, labels, most=2 * len(wrong))
    assert np.mean([error.row in wrong for error in found[: len(wrong)]]) >= 0.75
    assert len(wrong & {error.row for error in found}) >= 0.95 * len(wrong)
    confident = [error for error in found if error.confident]
    assert np.mean([error.row in wrong for error in confident]) >= 0.8
    assert len(confident) >= 0.6 * len(wrong)
    margins = [error.margin for error in found]
    assert margins == sorted(margins, reverse=True)
    truth = load_digits(return_X_y=True)[1]
    right = [error.likely == truth[error.row] for error in found if error.row in wrong]
    assert np.mean(right) >= 0.9, "and the class that it is"


def test_right_labels_are_hardly_named():
    pixels, labels, _ = with_swapped(0.0)
    found = likely_errors(pixels, labels, most=900)
    assert len(found) <= 0.06 * len(labels)
    assert sum(error.confident for error in found) <= 0.01 * len(labels)


def test_the_picture_itself_has_no_say():
    """Features that tell every picture apart learn any label by heart; the other folds do not."""
    generator = np.random.default_rng(0)
    centers = np.repeat(np.eye(3)[:, :3] * 5, 20, axis=0)
    features = np.hstack([centers + 0.3 * generator.normal(size=(60, 3)), np.eye(60)])
    labels = np.repeat([0, 1, 2], 20)
    labels[7] = 2
    (error,) = likely_errors(features, labels)
    assert (error.row, error.given, error.likely) == (7, 2, 0)


def test_the_most_likely_only_and_reproducibly():
    pixels, labels, _ = with_swapped(0.08)
    three = likely_errors(pixels, labels, most=3)
    assert three == likely_errors(pixels, labels, most=30)[:3]


def test_classes_with_few_pictures_are_passed_over():
    pixels, labels, _ = with_swapped(0.0, count=300)
    labels[:3] = 77
    assert all(77 not in (error.given, error.likely) for error in likely_errors(pixels, labels))


def test_a_finding_names_both_classes():
    pixels, labels, _ = with_swapped(0.02)
    error = likely_errors(pixels, labels, most=1)[0]
    finding = error.finding("a/b.png", [f"digit {k}" for k in range(10)])
    assert finding.found.startswith(
        f"a/b.png: labelled 'digit {error.given}', 'digit {error.likely}' is likelier "
        f"({100 * error.p_likely:.0f} % against {100 * error.p_given:.0f} %)"
    )
    assert error.confident
    assert finding.leave_out == finding.paths == ("a/b.png",)
    unsure = replace(error, confident=False).finding("a/b.png", [f"digit {k}" for k in range(10)])
    assert unsure.leave_out == ()


def test_what_is_no_use():
    with pytest.raises(InputError, match=r"expected N x D features and N labels, got \(4, 2\) and \(3,\)"):
        likely_errors(np.zeros((4, 2)), [0, 1, 0])
    with pytest.raises(InputError, match="expected two classes with 5 or more pictures, got 1"):
        likely_errors(np.zeros((7, 2)), [0] * 5 + [1] * 2)
