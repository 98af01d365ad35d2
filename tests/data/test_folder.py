"""Folders of images: every layout, what can be wrong, skipped files, and the split that adding files cannot move."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import without_privileges
from striate.data import ArraySplit, ClassMap, DataOptions, FolderSplit, Preprocessing, open_data, open_for_evaluation
from striate.errors import InputError

OPTIONS = DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2)
SKIP = DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2, unreadable="skip")
PREPROCESSING = OPTIONS.preprocessing()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def fill(root, counts, seed=0):
    """Write so many pictures into each class folder; a picture's content depends on its path and seed."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            Image.fromarray(picture([seed, k, *name.encode()])).save(root / name / f"{k}.png")
    return root


def message_of(root, options=OPTIONS, **arguments):
    with pytest.raises(InputError) as caught:
        open_data(root, options, seed=0, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything(data):
    return {name: part for part, split in data.splits.items() for name in split.ids}


@pytest.fixture
def open_place():
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("memory_limit", [1 << 20, 0])
def test_class_folders_alone(memory_limit, tmp_path):
    fill(tmp_path, {"owl": 30, "cat": 20, "dog": 25})
    told = []
    data = open_data(tmp_path, OPTIONS, seed=0, memory_limit=memory_limit, progress=lambda *step: told.append(step))
    assert data.classes.names == ("cat", "dog", "owl")
    assert list(data.splits) == ["train", "val", "test"]
    assert len(everything(data)) == 75
    assert told == [(k, 75, "checking images") for k in range(1, 76)]
    for split in data.splits.values():
        assert isinstance(split, ArraySplit if memory_limit else FolderSplit)
        images = split.load(range(len(split)))
        for name, label, image in zip(split.ids, split.labels, images, strict=True):
            folder, file = name.split("/")
            assert data.classes.names[label] == folder
            expected = picture([0, int(file.removesuffix(".png")), *folder.encode()])
            np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))
    assert all(count > 0 for counts in data.counts().values() for count in counts.values())


def test_shares_are_about_those_asked_for(tmp_path):
    fill(tmp_path, {"a": 300, "b": 300})
    counts = open_data(tmp_path, OPTIONS, seed=0).counts()
    for part, share in (("train", 180), ("val", 60), ("test", 60)):
        for name in "ab":
            assert abs(counts[part][name] - share) < 28  # four standard deviations of 300 draws


def test_adding_renaming_and_copying_files_moves_no_other(tmp_path):
    fill(tmp_path, {"a": 60, "b": 60})
    before = everything(open_data(tmp_path, OPTIONS, seed=0))
    fill(tmp_path / "more", {"a": 40}, seed=1)
    for path in (tmp_path / "more" / "a").iterdir():
        path.rename(tmp_path / "a" / f"new-{path.name}")
    shutil.rmtree(tmp_path / "more")
    (tmp_path / "b" / "0.png").rename(tmp_path / "b" / "zero.png")
    fill(tmp_path, {"c": 10})
    shutil.copy(tmp_path / "b" / "1.png", tmp_path / "b" / "copy.png")
    after = everything(open_data(tmp_path, OPTIONS, seed=0))
    assert after["b/zero.png"] == before.pop("b/0.png")
    assert after["b/copy.png"] == after["b/1.png"]
    assert {name: after[name] for name in before} == before
    assert everything(open_data(tmp_path, OPTIONS, seed=1)) != after


def test_a_small_class_is_in_every_split(tmp_path):
    fill(tmp_path, {"a": 3, "b": 4})
    large = DataOptions(channels=3, size=(6, 8), val_fraction=0.45, test_fraction=0.45)
    for seed in range(10):
        counts = open_data(tmp_path, large if seed % 2 else OPTIONS, seed=seed).counts()
        assert all(counts[part][name] >= 1 for part in counts for name in "ab")


def test_three_split_folders(tmp_path):
    fill(tmp_path, {"train/a": 4, "train/b": 3, "val/a": 2, "val/b": 1, "test/b": 5})
    (tmp_path / "README.md").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "val" / "list.txt").touch()
    data = open_data(tmp_path, OPTIONS, seed=0)
    assert data.ignored == (".hidden", "README.md", "val/list.txt")
    assert data.counts() == {"train": {"a": 4, "b": 3}, "val": {"a": 2, "b": 1}, "test": {"a": 0, "b": 5}}
    assert data.absent("test") == ["a"]
    assert all(name.startswith(f"{part}/") for name, part in everything(data).items())


@pytest.mark.parametrize("given", ["val", "test"])
def test_a_missing_split_is_made_from_train(given, tmp_path):
    fill(tmp_path, {"train/a": 40, "train/b": 40, f"{given}/a": 2, f"{given}/b": 2})
    data = open_data(tmp_path, OPTIONS, seed=0)
    made = "test" if given == "val" else "val"
    assert list(data.splits) == ["train", "val", "test"]
    assert len(data.splits["train"]) + len(data.splits[made]) == 80
    assert len(data.splits[given]) == 4
    assert all(name.startswith("train/") for name in data.splits[made].ids)


def test_hidden_and_stray_files_are_ignored_but_reported(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5, ".cache": 1, "__MACOSX": 1, "a/deep/deeper": 2})
    for name in ("README.md", "labels.csv", ".DS_Store", "a/.DS_Store", "b/Thumbs.db"):
        (tmp_path / name).write_text("no picture")
    os.mkfifo(tmp_path / "a" / "pipe")
    data = open_data(tmp_path, OPTIONS, seed=0)
    assert data.ignored == (
        ".DS_Store",
        ".cache",
        "__MACOSX",
        "README.md",
        "labels.csv",
        "a/.DS_Store",
        "a/pipe",
        "b/Thumbs.db",
    )
    assert sum(data.counts()[part]["a"] for part in data.splits) == 7
    assert "a/deep/deeper/1.png" in everything(data)
    assert "ignored 8 files or folders" in data.describe()


def test_links_are_followed_but_not_in_circles(tmp_path):
    fill(tmp_path / "store", {"a": 5, "b": 5})
    root = tmp_path / "set"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "store" / "a")
    shutil.copytree(tmp_path / "store" / "b", root / "b")
    (root / "b" / "again").symlink_to(root / "b")
    data = open_data(root, OPTIONS, seed=0)
    assert len(everything(data)) == 10
    assert data.ignored == ("b/again",)


def test_class_names_are_spelled_in_one_way(tmp_path):
    fill(tmp_path, {"cafe\u0301": 3, "bar": 3})  # as macOS writes it
    assert open_data(tmp_path, OPTIONS, seed=0).classes.names == ("bar", "caf\u00e9")


def spoil(root):
    whole = (root / "a" / "0.png").read_bytes()
    (root / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "1.png").write_bytes(b"")
    (root / "b" / "notes.txt").write_text("hello")
    (root / "b" / "link.png").symlink_to(root / "gone.png")


def test_unreadable_files_stop_everything(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    spoil(tmp_path)
    message = message_of(tmp_path)
    assert message.startswith(
        f"{tmp_path}: 4 of 14 files cannot be read as pictures ({tmp_path}/a/0.png: the picture is"
    )
    assert (
        f"{tmp_path}/a/1.png: the file is empty: replace or remove it; {tmp_path}/b/link.png: the file cannot"
        in message
    )
    assert message.endswith(
        "; and 1 more); to go on without them set data.unreadable=skip (--skip-unreadable when evaluating)"
    )


@pytest.mark.parametrize("memory_limit", [1 << 20, 0])
def test_unreadable_files_can_be_skipped_and_are_reported(memory_limit, tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    spoil(tmp_path)
    data = open_data(tmp_path, SKIP, seed=0, memory_limit=memory_limit)
    assert [file.path for file in data.unreadable] == [
        f"{tmp_path}/{name}" for name in ("a/0.png", "a/1.png", "b/link.png", "b/notes.txt")
    ]
    assert data.unreadable[1].reason == "the file is empty: replace or remove it"
    assert sorted(everything(data)) == [f"a/{k}.png" for k in range(2, 6)] + [f"b/{k}.png" for k in range(6)]
    for split in data.splits.values():
        for k, name in enumerate(split.ids):
            expected = picture([0, int(name[2]), *name[:1].encode()])
            np.testing.assert_array_equal(split.load([k])[0], expected.transpose(2, 0, 1))
    assert f"skipped {tmp_path}/a/1.png: the file is empty" in data.describe()


def test_a_class_of_unreadable_files_only(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6, "c": 0})
    (tmp_path / "c" / "x.png").write_text("no picture")
    assert message_of(tmp_path, SKIP) == f"{tmp_path}: no file of class 'c' can be read: repair or remove the class"


def test_layouts_that_are_none(tmp_path):
    def layout(name, counts, files=()):
        root = fill(tmp_path / name, counts)
        root.mkdir(exist_ok=True)
        for file in files:
            (root / file).write_text("text")
        return root

    root = layout("empty", {})
    assert message_of(root) == f"{root}: expected a folder of images for each class, found nothing"
    root = layout("flat", {}, ["1.png", "2.png"])
    assert message_of(root) == f"{root}: expected a folder of images for each class, found 2 files but no folders"
    root = layout("hole", {"a": 3, "b": 0})
    assert message_of(root) == f"{root}/b: expected images of class 'b', found none: add some or remove the folder"
    root = layout("one", {"a": 3})
    assert message_of(root) == f"{root}: expected at least two class folders, found only 'a'"
    root = layout("one-train", {"train/a": 3})
    assert message_of(root) == f"{root}/train: expected at least two class folders, found only 'a'"
    root = layout("few", {"a": 3, "b": 2})
    assert message_of(root) == (
        f"{root}: class 'b' has 2 images, too few to set some aside for test and val: at least 3 are needed"
    )
    root = layout("stranger", {"train/a": 3, "train/b": 3, "test/a": 2, "test/cow": 2, "test/pig": 2})
    assert message_of(root) == (
        f"{root}/test: the folder 'cow' (and 1 more) is no class that training knows ('a', 'b'): rename or remove it"
    )
    root = layout("words", {"train/a": 3, "train/b": 3, "Validation/a": 2})
    assert message_of(root) == (
        f"{root}: expected only train, val and test, found the folder 'Validation': rename it to 'val'"
    )
    root = layout("mixed", {"train/a": 3, "train/b": 3, "cow": 2})
    assert message_of(root) == f"{root}: expected only train, val and test, found the folder 'cow': move it away"
    root = layout("capital", {"Train/a": 3, "Test/a": 3})
    assert message_of(root) == (
        f"{root}: the folder 'Test' looks like a split, but there is no folder 'train': name the folders train, val "
        "and test, or keep class folders only"
    )


def test_a_folder_that_may_not_be_read(open_place):
    fill(open_place, {"a": 4, "b": 4})
    (open_place / "b").chmod(0)
    with without_privileges():
        message = message_of(open_place)
    assert message == f"{open_place}/b: the folder cannot be read (Permission denied): allow reading it"


def test_a_file_that_may_not_be_read(open_place):
    fill(open_place, {"a": 4, "b": 4})
    (open_place / "b" / "2.png").chmod(0)
    with without_privileges():
        data = open_data(open_place, SKIP, seed=0)
    (file,) = data.unreadable
    assert file.path == f"{open_place}/b/2.png"
    assert file.reason == "the file cannot be read (Permission denied): allow reading it, or remove it"


def test_the_classes_of_a_resumed_run_are_enforced(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4})
    open_data(tmp_path, OPTIONS, seed=0, classes=ClassMap(["a", "b"]))
    assert message_of(tmp_path, classes=ClassMap(["a", "c"])) == (
        f"the classes of {tmp_path} are not the 2 that were expected: missing 'c'; unknown 'b'"
    )


def test_the_fingerprint_tells_any_change(tmp_path):
    fill(tmp_path, {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})

    def fingerprint(**arguments):
        return open_data(tmp_path, OPTIONS, seed=0, **arguments).fingerprint

    first = fingerprint()
    assert first == fingerprint() == fingerprint(memory_limit=0)
    assert len(bytes.fromhex(first)) == 32
    path = tmp_path / "train" / "a" / "0.png"
    whole = path.read_bytes()
    Image.fromarray(picture(99)).save(path)
    changed = fingerprint()
    path.write_bytes(whole)
    assert fingerprint() == first
    path.rename(path.with_name("9.png"))
    renamed = fingerprint()
    path.with_name("9.png").rename(tmp_path / "train" / "b" / "9.png")
    moved = fingerprint()
    assert len({first, changed, renamed, moved}) == 4


CLASSES = ClassMap(["owl", "cat", "dog"])  # a model's order need not be alphabetical


def test_evaluating_class_folders_takes_every_image(tmp_path):
    fill(tmp_path, {"cat": 5, "owl": 1})
    data = open_for_evaluation(tmp_path, PREPROCESSING, CLASSES)
    assert data.classes == CLASSES
    assert data.preprocessing == PREPROCESSING
    assert list(data.splits) == ["test"]
    assert data.splits["test"].labels.tolist() == [1] * 5 + [0]
    assert data.absent("test") == ["dog"]


def test_evaluating_a_class_that_the_model_does_not_know(tmp_path):
    fill(tmp_path, {"cat": 2, "cow": 2})
    with pytest.raises(InputError) as caught:
        open_for_evaluation(tmp_path, PREPROCESSING, CLASSES)
    assert str(caught.value) == (
        f"{tmp_path}: the folder 'cow' is no class that training knows ('owl', 'cat', 'dog'): rename or remove it"
    )


def test_evaluating_one_split_reads_only_that(tmp_path):
    fill(tmp_path, {"train/cat": 3, "train/dog": 3, "train/owl": 3, "test/dog": 2})
    (tmp_path / "train" / "cat" / "0.png").write_text("no picture")
    data = open_for_evaluation(tmp_path, PREPROCESSING, CLASSES)
    assert data.splits["test"].ids == ["test/dog/0.png", "test/dog/1.png"]
    fill(tmp_path / "held", {"test/dog": 2})
    assert len(open_for_evaluation(tmp_path / "held", PREPROCESSING, CLASSES).splits["test"]) == 2


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_evaluating_a_split_that_training_set_aside(part, tmp_path):
    fill(tmp_path, {"train/cat": 20, "train/dog": 20, "test/cat": 3, "test/dog": 3})
    trained = open_data(tmp_path, OPTIONS, seed=5)
    data = open_for_evaluation(tmp_path, PREPROCESSING, trained.classes, split=part, seed=5, options=OPTIONS)
    assert data.splits[part].ids == trained.splits[part].ids


def test_evaluating_a_known_set():
    trained = open_data("digits", DataOptions(size=(8, 8), test_fraction=0.3), seed=5)
    data = open_for_evaluation(
        "digits", Preprocessing(1, (12, 8)), trained.classes, seed=5, options=DataOptions(test_fraction=0.3)
    )
    assert list(data.splits) == ["test"]
    assert data.splits["test"].ids == trained.splits["test"].ids
    assert data.splits["test"].load([0]).shape == (1, 1, 12, 8)


def test_evaluating_unreadable_files(tmp_path):
    fill(tmp_path, {"cat": 2, "dog": 1})
    (tmp_path / "dog" / "0.png").write_text("no picture")
    with pytest.raises(InputError, match="1 of 3 files cannot be read as pictures"):
        open_for_evaluation(tmp_path, PREPROCESSING, CLASSES)
    data = open_for_evaluation(tmp_path, PREPROCESSING, CLASSES, options=SKIP)
    assert (len(data.splits["test"]), len(data.unreadable), data.absent("test")) == (2, 1, ["owl", "dog"])
    (tmp_path / "cat" / "0.png").unlink()
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match="expected images, none of the files there can be read"):
        open_for_evaluation(tmp_path, PREPROCESSING, CLASSES, options=SKIP)


def test_evaluating_a_split_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"^split must be 'train', 'val' or 'test', got 'dev'$"):
        open_for_evaluation(tmp_path, PREPROCESSING, CLASSES, split="dev")
