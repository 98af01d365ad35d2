"""The list of files to leave out: written, read, followed by training and by what comes after it."""

import numpy as np
import pytest
from test_folder import fill

from striate.data import ClassMap, DataOptions, open_data, open_for_evaluation, read_exclusion, write_exclusion
from striate.errors import InputError

OPTIONS = DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2)
HOSTILE = [
    "a b.png",
    "#a.png",
    '"q".png',
    " lead.png",
    "tab\t.png",
    "line\nbreak.png",
    "\udcff.png",
    "ü.png",
    "a#b.png",
]


def without(*names):
    return DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2, exclude=names)


def message(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_of_any_kind_come_back(tmp_path):
    write_exclusion(
        tmp_path / "list.txt", [(f"x/{name}", "why") for name in HOSTILE] + [(name, "") for name in HOSTILE]
    )
    assert read_exclusion(tmp_path / "list.txt") == tuple(sorted([f"x/{name}" for name in HOSTILE] + HOSTILE))


def test_the_list_is_text_with_reasons(tmp_path):
    write_exclusion(tmp_path / "list.txt", [("b/1.png", "empty: 1"), ("a/2.png", "one\nline"), ("b/1.png", "again")])
    text = (tmp_path / "list.txt").read_text()
    assert text.splitlines()[2:] == ["# one line", "a/2.png", "# empty: 1", "# again", "b/1.png"]
    assert all(line.startswith("#") for line in text.splitlines()[:2])


def test_a_list_by_hand(tmp_path):
    (tmp_path / "list.txt").write_text("# mine\n\n  b/2.png  \r\nb/2.png\na/1.png\n")
    assert read_exclusion(tmp_path / "list.txt") == ("a/1.png", "b/2.png")


def test_lists_that_are_none(tmp_path):
    assert message(lambda: read_exclusion(tmp_path / "no.txt")) == (
        f"{tmp_path}/no.txt: the list of files to exclude cannot be read (No such file or directory)"
    )
    (tmp_path / "image.txt").write_bytes(b"\xff\xd8\xff")
    assert message(lambda: read_exclusion(tmp_path / "image.txt")).endswith("cannot be read (it is no UTF-8 text)")
    (tmp_path / "quote.txt").write_text('a.png\n"b.png\n')
    assert message(lambda: read_exclusion(tmp_path / "quote.txt")).startswith(
        f"{tmp_path}/quote.txt, line 2: expected a path, or one in double quotes"
    )


def test_excluded_files_are_as_if_they_were_not_there(tmp_path):
    fill(tmp_path / "all", {"a": 8, "b": 8})
    fill(tmp_path / "less", {"a": 8, "b": 8})
    (tmp_path / "less" / "a" / "3.png").unlink()
    (tmp_path / "less" / "b" / "0.png").unlink()
    data = open_data(tmp_path / "all", without("a/3.png", "b/0.png"), seed=1)
    assert data.fingerprint == open_data(tmp_path / "less", OPTIONS, seed=1).fingerprint
    assert data.excluded == ("a/3.png", "b/0.png")
    assert "excluded 2 files" in data.describe()


def test_a_bad_file_that_is_excluded_stops_nothing(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    assert "a/bad.png" in message(lambda: open_data(tmp_path, OPTIONS, seed=0))
    data = open_data(tmp_path, without("a/bad.png"), seed=0)
    assert (data.unreadable, data.excluded) == ((), ("a/bad.png",))


def test_unknown_paths_are_named(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    assert message(lambda: open_data(tmp_path, without("a/1.png", "a/none.png", "x"), seed=0)) == (
        f"{tmp_path}: the list of files to exclude names 'a/none.png', 'x', which is no file below it: remove the "
        "line, or make a new list with: striate doctor DATA --quarantine FILE"
    )


def test_nothing_left(tmp_path):
    fill(tmp_path, {"a": 2, "b": 5})
    assert message(lambda: open_data(tmp_path, without("a/0.png", "a/1.png"), seed=0)) == (
        f"{tmp_path}: all files of class 'a' are excluded: keep some, or remove it"
    )
    fill(tmp_path / "parts", {"train/a": 2, "train/b": 2, "test/a": 1})
    classes = ClassMap(["a", "b"])
    preprocessing = OPTIONS.preprocessing()
    alone = without("test/a/0.png")
    assert message(lambda: open_for_evaluation(tmp_path / "parts", preprocessing, classes, options=alone)) == (
        f"{tmp_path}/parts: all files are excluded: keep some"
    )


def test_a_known_set_is_taken_whole():
    options = DataOptions(size=(8, 8), exclude=("digits/0001",))
    assert message(lambda: open_data("digits", options, seed=0)) == (
        "data.exclude names files of a folder; digits is a known set and is taken whole"
    )


def test_a_resumed_run_does_not_miss_what_it_left_out(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    options = without("a/1.png")
    first = open_data(tmp_path, options, seed=3)
    (tmp_path / "a" / "1.png").unlink()
    again = open_data(tmp_path, options, seed=3, classes=first.classes)
    assert again.fingerprint == first.fingerprint
    assert again.excluded == ()


@pytest.mark.parametrize("removed", [False, True])
def test_evaluation_knows_the_training_data_again(removed, tmp_path):
    """What was set aside is found also if the files that were left out have been removed since."""
    fill(tmp_path, {"a": 9, "b": 9})
    options = without("a/1.png", "b/2.png")
    trained = open_data(tmp_path, options, seed=3)
    if removed:
        (tmp_path / "b" / "2.png").unlink()
    data = open_for_evaluation(
        tmp_path,
        trained.preprocessing,
        trained.classes,
        seed=3,
        options=options,
        trained_on=trained.fingerprint,
    )
    assert data.splits["test"].ids == trained.splits["test"].ids
    assert data.excluded == (("a/1.png",) if removed else ("a/1.png", "b/2.png"))


def test_evaluation_on_other_data_is_whole(tmp_path):
    fill(tmp_path, {"train/x": 2, "train/y": 2, "test/x": 4, "test/y": 4})
    options = without("x/0.png", "test/x/1.png")
    data = open_for_evaluation(tmp_path, OPTIONS.preprocessing(), ClassMap(["x", "y"]), options=options)
    assert np.bincount(data.splits["test"].labels).tolist() == [3, 4]
    assert data.excluded == ("test/x/1.png",)
