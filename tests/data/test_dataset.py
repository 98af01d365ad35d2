"""What a data set says about itself."""

import numpy as np

from striate.data import ArraySplit, ClassMap, ImageData, Preprocessing, Unreadable

IMAGES = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)


def make(names=("cat", "dog"), ids=("a", "b", "c"), labels=(0, 1, 1), images=IMAGES[:3], part="train"):
    splits = {part: ArraySplit(ids, labels, images), "test": ArraySplit(["z"], [1], IMAGES[3:])}
    unreadable = (Unreadable("pets/cat/9.png", "the file is empty"),)
    return ImageData("pets", ClassMap(names), Preprocessing(1, (1, 1)), splits, unreadable, ("notes.txt",))


def test_the_fingerprint_depends_on_every_part_of_a_sample():
    different = [
        make(),
        make(names=("cat", "cow")),
        make(ids=("a", "b", "d")),
        make(labels=(0, 1, 0)),
        make(images=IMAGES[[0, 1, 3]]),
        make(part="val"),
        make(ids=("a", "c", "b")),
    ]
    assert len({data.fingerprint for data in different}) == len(different)
    assert make().fingerprint == make().fingerprint


def test_counts_and_what_is_absent():
    data = make()
    assert data.counts() == {"train": {"cat": 1, "dog": 2}, "test": {"cat": 0, "dog": 1}}
    assert data.absent("test") == ["cat"]
    assert data.absent("train") == []


def test_describes_itself():
    assert make().describe().splitlines() == [
        "pets: train 3, test 1",
        "class    train     test",
        "cat          1        0",
        "dog          2        1",
        "skipped pets/cat/9.png: the file is empty",
        "ignored 1 files or folders that are no part of the set",
    ]
