"""Folders of pictures with masks: layouts, classes, splits; whatever does not fit is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pictures import write_scenes
from striate.data import VOID, DataOptions, ImageData, open_data, open_for_evaluation, require_scenes
from striate.data._splits import ArraySplit
from striate.errors import InputError

OPTIONS = DataOptions(channels=3, size=(32, 40), task="segmentation")


def opened(root: Path, options: DataOptions = OPTIONS, memory_limit: int = 1 << 30) -> ImageData:
    return open_data(root, options, seed=0, memory_limit=memory_limit)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes")
    return tmp_path / "scenes"


def divided(root: Path, layout: str) -> Path:
    """The same pictures in train, val and test, in one of the two layouts."""
    for k, part in enumerate(("train", "val", "test")):
        places = {"camvid": (part, f"{part}annot"), "nested": (f"{part}/images", f"{part}/masks")}[layout]
        write_scenes(root / "new", count=4, seed=k)
        for source, place in zip(("images", "masks"), places, strict=True):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / "new" / source, root / place)
        (root / "new").rmdir()
    return root


@pytest.mark.parametrize("layout", ["camvid", "nested"])
def test_given_splits_are_taken(tmp_path: Path, layout: str) -> None:
    data = opened(divided(tmp_path / "data", layout))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert data.classes.names == ("0", "1", "2")
    assert data.masks is not None
    assert (data.masks.values, data.masks.void) == ((0, 1, 2), (255,))
    alone = tmp_path / "data"
    for folder in ("val", "valannot", "test", "testannot"):
        shutil.rmtree(alone / folder, ignore_errors=True)
    assert {name: len(split) for name, split in opened(alone).splits.items()} == {"train": 2, "val": 1, "test": 1}


def test_every_pixel_is_what_the_files_say(scenes: Path) -> None:
    for limit in (1 << 30, 0):  # in memory, and decoded each time
        data = opened(scenes, memory_limit=limit)
        for split in data.splits.values():
            part = require_scenes(split)
            assert part.in_memory == (limit > 0)
            for k, name in enumerate(part.ids):
                picture = np.asarray(Image.open(scenes / name)).transpose(2, 0, 1)
                mask = np.asarray(Image.open(scenes / name.replace("images", "masks")))
                np.testing.assert_array_equal(part.load([k])[0], picture)
                np.testing.assert_array_equal(part.targets([k])[0], mask)
                np.testing.assert_array_equal(part.truth(k), mask)
                known = [(mask == value).sum() for value in range(3)]
                assert part.scenes[k].pixels == tuple(known)
                assert part.labels[k] == np.argmax(known)
        assert opened(scenes).fingerprint == data.fingerprint


def test_a_picture_keeps_its_side_when_others_come_and_names_change(scenes: Path) -> None:
    before = {split.digests[k]: name for name, split in opened(scenes).splits.items() for k in range(len(split))}
    write_scenes(scenes.parent / "more", count=6, seed=5)
    for folder in ("images", "masks"):
        for path in (scenes.parent / "more" / folder).iterdir():
            shutil.copy(path, scenes / folder / f"more-{path.name}")
        (scenes / folder / "3.png").rename(scenes / folder / "renamed.png")
    after = {split.digests[k]: name for name, split in opened(scenes).splits.items() for k in range(len(split))}
    assert {digest: after[digest] for digest in before} == before
    assert set(before.values()) == {"train", "val", "test"}


def test_another_mask_moves_no_picture(scenes: Path) -> None:
    def sides() -> dict[str, str]:
        return {name: part for part, split in opened(scenes).splits.items() for name in split.ids}

    before, fingerprint = sides(), opened(scenes).fingerprint
    Image.fromarray(np.full((32, 40), 1, np.uint8)).save(scenes / "masks" / "0.png")
    assert sides() == before
    assert opened(scenes).fingerprint != fingerprint


@pytest.mark.parametrize("form", ["labels.txt", "list", "object"])
def test_labels_have_names_and_void_is_none(scenes: Path, form: str) -> None:
    names = ["void", "square", "disc", "never"]
    if form == "labels.txt":
        (scenes / "labels.txt").write_text("\n".join(names) + "\n")
    else:
        values = names if form == "list" else {str(k): name for k, name in enumerate(names)}
        (scenes / "classes.json").write_text(json.dumps(values))
    data = opened(scenes)
    assert data.classes.names == ("square", "disc", "never")
    assert data.masks is not None
    assert (data.masks.values, data.masks.void) == ((1, 2, 3), (0, 255))
    masks = data.splits["train"].targets([0])
    assert set(np.unique(masks)) == {0, 1, VOID}, "classes are counted from 0"


def test_colours_come_from_the_palette(scenes: Path) -> None:
    for path in (scenes / "masks").iterdir():
        image = Image.frombytes("P", (40, 32), np.asarray(Image.open(path)).tobytes())
        image.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9] + [0] * 759)
        image.save(path)
    masks = opened(scenes).masks
    assert masks is not None
    assert masks.colours == ((1, 2, 3), (40, 50, 60), (7, 8, 9))


def spoil(scenes: Path, name: str, labels: npt.ArrayLike) -> bool:
    Image.fromarray(np.asarray(labels, np.uint8)).save(scenes / "masks" / name)
    return True


LABEL = np.zeros((32, 40))
LABEL[3:5, 3] = 77
Plant = Callable[[Path], Any]
PLANTED: list[tuple[Plant, tuple[str, ...]]] = [
    (lambda r: spoil(r, "0.png", LABEL), ("masks/0.png: the mask has the label 77 (2 pixels)", "set data.void=77")),
    (lambda r: spoil(r, "1.png", np.zeros((40, 32))), ("masks/1.png: the mask is 32 x 40 pixels", "1.png 40 x 32")),
    (lambda r: (r / "masks" / "2.png").unlink(), ("images/2.png: it has no mask", "expected masks/2.png")),
    (lambda r: (r / "masks" / "3.png").write_bytes(b"no"), ("masks/3.png: not a PNG, BMP, TIFF or PPM mask",)),
    (lambda r: (r / "images" / "4.png").write_bytes(b"no"), ("images/4.png: not a JPEG, PNG",)),
]


@pytest.mark.parametrize(("plant", "words"), PLANTED)
def test_a_planted_bad_pair_is_named(scenes: Path, plant: Plant, words: tuple[str, ...]) -> None:
    (scenes / "labels.txt").write_text("noise\nsquare\ndisc\n")
    plant(scenes)
    with pytest.raises(InputError) as caught:
        opened(scenes)
    for part in ("1 of 12 pictures cannot be used with their masks", "data.unreadable=skip", *words):
        assert part in str(caught.value)


def test_bad_pairs_can_be_left_out(scenes: Path) -> None:
    (scenes / "labels.txt").write_text("noise\nsquare\ndisc\n")
    good = {name: part for part, split in opened(scenes).splits.items() for name in split.ids}
    for plant, _ in PLANTED:
        plant(scenes)
    data = opened(scenes, replace(OPTIONS, unreadable="skip"))
    reasons = [f"{file.path}: {file.reason}" for file in data.unreadable]
    assert len(reasons) == 5
    for _, words in PLANTED:
        assert any(all(word in reason for word in words) for reason in reasons), words
    kept = {name: part for part, split in data.splits.items() for name in split.ids}
    assert len(kept) == 7
    assert all(good[name] == part for name, part in kept.items()), "the others stay where they were"


def test_labels_that_training_masks_lack_are_refused(tmp_path: Path) -> None:
    """Without a list of names the classes are those of the training masks alone."""
    root = divided(tmp_path / "data", "nested")
    mask = root / "val" / "masks" / "0.png"
    labels = np.array(Image.open(mask))
    labels[5, 5] = 9
    Image.fromarray(labels).save(mask)
    with pytest.raises(InputError, match=r"val/masks/0\.png: the mask has the label 9 \(1 pixels\)"):
        opened(root)


def test_a_picture_turned_by_its_exif_note(scenes: Path) -> None:
    """The mask belongs to the picture as it is seen."""
    stored = Image.fromarray(np.asarray(Image.open(scenes / "images" / "0.png"))).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(scenes / "images" / "0.png", exif=exif)
    assert sum(map(len, opened(scenes).splits.values())) == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: (r / "images").rename(r / "pictures"), "expected images/ and masks/, or these two in train/"),
        (lambda r: shutil.copy(r / "images" / "0.png", r / "images" / "0.bmp"), "differ in their endings only"),
        (lambda r: [p.unlink() for p in (r / "images").iterdir()], "expected pictures, found none"),
        (lambda r: [spoil(r, p.name, np.zeros((32, 40))) for p in (r / "masks").iterdir()], "at least two classes"),
        (lambda r: (r / "labels.txt").write_text("a\na\nb\n"), "each class must be named once"),
        (lambda r: (r / "classes.json").write_text('{"x": "a"}'), "expected the names of the labels"),
        (lambda r: (r / "classes.json").write_text('{"300": "a"}'), "labels are numbers from 0 to 255"),
        (
            lambda r: [p.unlink() for p in (r / "images").iterdir() if p.name not in {"0.png", "1.png"}],
            "too few to set some aside",
        ),
    ],
)
def test_layouts_that_are_none(scenes: Path, change: Plant, words: str) -> None:
    change(scenes)
    with pytest.raises(InputError) as caught:
        opened(scenes)
    assert words in str(caught.value)


def test_a_strange_folder_beside_the_parts(tmp_path: Path) -> None:
    root = divided(tmp_path / "data", "camvid")
    (root / "val").rename(root / "valid")
    with pytest.raises(InputError, match="found also the folder 'valid'"):
        opened(root)


def test_masks_without_pictures_are_told(scenes: Path) -> None:
    (scenes / "images" / "5.png").unlink()
    assert opened(scenes).ignored == ("masks/5.png",)


def test_files_can_be_excluded(scenes: Path) -> None:
    data = opened(scenes, replace(OPTIONS, exclude=("images/5.png",)))
    assert sum(map(len, data.splits.values())) == 11
    assert data.excluded == ("images/5.png",)
    with pytest.raises(InputError, match=r"'images/55\.png'"):
        opened(scenes, replace(OPTIONS, exclude=("images/55.png",)))


def test_the_right_task_is_named(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"with the option data\.task=segmentation"):
        opened(scenes, DataOptions(channels=3, size=(32, 40)))
    with pytest.raises(InputError, match="digits has a label per picture and no masks"):
        open_data("digits", OPTIONS, seed=0)
    with pytest.raises(InputError, match="'stretch' or 'pad' for segmentation"):
        DataOptions(task="segmentation", fit="crop")
    with pytest.raises(InputError, match="needs pictures with masks"):
        require_scenes(ArraySplit([], [], np.zeros((0, 1, 2, 2), np.uint8)))


def test_evaluation_takes_what_was_set_aside_or_all(scenes: Path) -> None:
    data = opened(scenes)

    def evaluated(trained_on: str | None) -> list[str]:
        found = open_for_evaluation(
            scenes, data.preprocessing, data.classes, options=OPTIONS, trained_on=trained_on, masks=data.masks
        )
        return found.splits["test"].ids

    assert evaluated(data.fingerprint) == data.splits["test"].ids
    assert len(evaluated("other")) == len(evaluated(None)) == 12


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_of_given_splits(tmp_path: Path, split: str) -> None:
    root = divided(tmp_path / "data", "camvid")
    data = opened(root)

    def ids() -> list[str]:
        found = open_for_evaluation(
            root, data.preprocessing, data.classes, split=split, options=OPTIONS, masks=data.masks
        )
        return found.splits[split].ids

    assert ids() == data.splits[split].ids
    for folder in ("val", "valannot"):
        shutil.rmtree(root / folder)
    data = opened(root)
    assert ids() == data.splits[split].ids, "the validation pictures are set aside again"


def test_evaluation_with_only_the_test_part(tmp_path: Path) -> None:
    root = divided(tmp_path / "data", "nested")
    data = opened(root)
    for part in ("train", "val"):
        shutil.rmtree(root / part)
    found = open_for_evaluation(root, data.preprocessing, data.classes, options=OPTIONS, masks=data.masks)
    assert found.splits["test"].ids == data.splits["test"].ids
    (root / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="missing '0', '1', '2'; unknown 'a', 'b', 'c'"):
        open_for_evaluation(root, data.preprocessing, data.classes, options=OPTIONS, masks=data.masks)
