"""Splits in memory and on disk, and the stratified choice."""

import numpy as np
import pytest
from PIL import Image

from striate.data import ArraySplit, FolderSplit, ImageError, Preprocessing, sample_keys
from striate.data._splits import stratified
from striate.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
IDS = ["a/0.png", "a/1.png", "b/c/2.png", "b/3.png", "b/4.png"]
LABELS = [0, 0, 1, 1, 1]


@pytest.fixture(params=["array", "folder"])
def split(request, tmp_path):
    if request.param == "array":
        return ArraySplit(IDS, LABELS, IMAGES)
    for name, image in zip(IDS, IMAGES, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / name)
    return FolderSplit(tmp_path, IDS, LABELS, Preprocessing(3, (4, 6)), [bytes([k]) for k in range(5)])


@pytest.mark.parametrize("indices", [[], [3], [4, 0, 4], range(5), np.array([1, 2], np.int32)])
def test_loads_any_rows_in_any_order(split, indices):
    loaded = split.load(indices, threads=2)
    assert (loaded.dtype, loaded.shape) == (np.uint8, (len(indices), 3, 4, 6))
    np.testing.assert_array_equal(loaded, IMAGES[np.asarray(indices, int)])


def test_what_is_loaded_is_a_copy(split):
    split.load([0])[:] = 0
    np.testing.assert_array_equal(split.load([0])[0], IMAGES[0])


def test_a_subset_takes_everything_along(split):
    part = split.subset([4, 1])
    assert (len(part), part.ids, part.labels.tolist()) == (2, ["b/4.png", "a/1.png"], [1, 0])
    np.testing.assert_array_equal(part.load([0, 1]), IMAGES[[4, 1]])
    assert part.digests == [split.digests[4], split.digests[1]]
    np.testing.assert_array_equal(part.keys, split.keys[[4, 1]])
    assert len(split.subset([])) == 0


def test_keys_come_from_the_ids(split):
    np.testing.assert_array_equal(split.keys, sample_keys(IDS))


def test_digests_tell_contents_apart():
    images = np.concatenate([IMAGES, IMAGES[:1]])
    digests = ArraySplit([*IDS, "again"], [*LABELS, 0], images).digests
    assert len(set(digests)) == 5
    assert digests[5] == digests[0]


def test_a_file_that_went_away_is_named(tmp_path):
    split = FolderSplit(tmp_path, ["a/gone.png"], [0], Preprocessing(1, (4, 4)), [b""])
    with pytest.raises(ImageError, match=r"a/gone.png: the file cannot be read \(No such file or directory\)"):
        split.load([0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], [0, 1], IMAGES[:1]), "split: expected one label per image, got 1 ids and 2 labels"),
        ((["a", "a"], [0, 1], IMAGES[:2]), "split: expected distinct ids, some are there more than once"),
        (
            (["a", "b"], [0, 1], IMAGES[:2] / 255),
            "split: expected uint8 images 2 x C x h x w or float32 series 2 x C x T, got float64 of shape (2, 3, 4, 6)",
        ),
        (
            (["a", "b"], [0, 1], IMAGES[0, :2]),
            "split: expected uint8 images 2 x C x h x w or float32 series 2 x C x T, got uint8 of shape (2, 4, 6)",
        ),
    ],
)
def test_refuses_what_does_not_match(arguments, message):
    with pytest.raises(InputError) as caught:
        ArraySplit(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("fraction", [0.0, 1 / 12, 0.25, 0.5, 0.99])
def test_stratified_takes_the_exact_number_and_the_same_share_of_each_class(fraction):
    rng = np.random.default_rng(1)
    labels = rng.choice(7, 1001, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02])
    scores = rng.random(1001)
    chosen = stratified(labels, scores, fraction)
    assert chosen.sum() == round(1001 * fraction)
    for label in range(7):
        members = labels == label
        assert abs(chosen[members].sum() - members.sum() * fraction) < 1
        if 0 < chosen[members].sum() < members.sum():
            assert scores[members & chosen].max() < scores[members & ~chosen].min()


def test_stratified_of_nothing_is_nothing():
    assert stratified(np.zeros(0, np.int64), np.zeros(0), 0.5).tolist() == []
