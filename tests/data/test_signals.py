"""Series: every layout, what can be wrong with each file, lengths, standardising, keyed changes."""

import json

import numpy as np
import pytest
import torch

from series import write_folders, write_ucr
from striate.data import (
    Augmentation,
    ClassMap,
    DataOptions,
    Preprocessing,
    SignalPreprocessing,
    augment_signals,
    is_signals,
    open_data,
    open_for_evaluation,
    preparation_from_json,
    sample_keys,
)
from striate.data._series import fitted, read_series
from striate.data.sources.signals import open_signals
from striate.errors import InputError

OPTIONS = DataOptions(
    kind="signals", channels=0, fit="pad", standardize="training", val_fraction=0.2, test_fraction=0.2
)
SKIP = DataOptions(
    kind="signals",
    channels=0,
    fit="pad",
    standardize="training",
    val_fraction=0.2,
    test_fraction=0.2,
    unreadable="skip",
)


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / "data", per_class=8, channels=2)


def refused(where, *words, options=OPTIONS):
    with pytest.raises(InputError) as caught:
        open_data(where, options, seed=0)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


# layouts


def test_class_folders_alone(root):
    told = []
    data = open_data(root, OPTIONS, seed=0, progress=lambda *step: told.append(step))
    assert data.classes.names == ("fall", "rise")
    assert sum(len(split) for split in data.splits.values()) == 16
    assert told[-1] == (16, 16, "reading series")
    assert data.preprocessing.sample_size == (2, 30)
    for split in data.splits.values():
        for name, series, label in zip(split.ids, split.load(range(len(split))), split.labels, strict=True):
            path = root / name
            expected = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",")
            np.testing.assert_array_equal(series[:, : len(expected)], expected.T.astype(np.float32))
            assert np.isnan(series[:, len(expected) :]).all()
            assert data.classes.names[label] == name.split("/")[0]


def test_given_splits_and_a_model_elsewhere(tmp_path):
    for k, part in enumerate(("train", "val", "test")):
        write_folders(tmp_path / "data" / part, per_class=4, lengths=(20 + k,))
    data = open_data(tmp_path / "data", OPTIONS, seed=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "val": 8, "test": 8}
    assert data.preprocessing.sample_size == (1, 20), "the training split's length"
    one = open_for_evaluation(tmp_path / "data", data.preprocessing, data.classes, split="val")
    np.testing.assert_array_equal(one.splits["val"].load(range(8)), data.splits["val"].load(range(8)))
    whole = open_for_evaluation(tmp_path / "data" / "train", data.preprocessing, data.classes)
    assert len(whole.splits["test"]) == 8
    with pytest.raises(InputError, match="label 'fall', which is no class that training knows"):
        open_for_evaluation(tmp_path / "data", data.preprocessing, ClassMap(["rise", "up"]))


def test_what_was_set_aside_is_what_is_evaluated(root):
    data = open_data(root, OPTIONS, seed=3)
    again = open_for_evaluation(
        root, data.preprocessing, data.classes, seed=3, options=OPTIONS, trained_on=data.fingerprint
    )
    assert again.splits["test"].ids == data.splits["test"].ids
    resolved = OPTIONS.like(data.preprocessing)
    assert open_data(root, resolved, seed=3).preprocessing == data.preprocessing


def test_tables_of_the_ucr_archive(tmp_path):
    write_ucr(tmp_path / "CBF", "CBF", {"TRAIN": 6, "TEST": 4})
    data = open_data(tmp_path / "CBF", OPTIONS, seed=0)
    assert data.classes.names == ("bell", "cylinder", "funnel")
    assert len(data.splits["train"]) + len(data.splits["val"]) == 18
    assert data.splits["test"].ids[0] == "CBF_TEST.tsv:1"
    rows = np.loadtxt(tmp_path / "CBF" / "CBF_TEST.tsv", delimiter="\t", usecols=range(1, 129))
    np.testing.assert_array_equal(data.splits["test"].load(range(12))[:, 0], rows.astype(np.float32))


def test_one_table_with_a_header_numbers_and_unequal_lengths(tmp_path):
    lines = ["label,t0,t1,t2", *(f"{label},{k},1,{'' if k % 2 else '2'}" for k in range(12) for label in ("10", "9"))]
    (tmp_path / "series.csv").write_text("\ufeff" + "\n".join(lines))
    for where in (tmp_path / "series.csv", tmp_path):
        data = open_data(where, OPTIONS, seed=0)
        assert data.classes.names == ("9", "10")
        assert sum(len(split) for split in data.splits.values()) == 24
        assert data.preprocessing.sample_size == (1, 3)
        train = data.splits["train"]
        short = [int(train.ids[k].split(":")[1]) // 2 % 2 == 0 for k in range(len(train))]
        np.testing.assert_array_equal(np.isnan(train.load(range(len(train)))[:, 0, 2]), short)


def test_what_means_series(root, tmp_path):
    (root / "README.md").write_text("my series")
    (root / "labels.csv").write_text("a,b")
    assert is_signals(root)
    assert is_signals(root / "labels.csv")
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.jpg").write_bytes(b"")
    (tmp_path / "photos" / "labels.csv").write_text("a,b")
    assert not is_signals(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "1 boxes.csv").write_text("1,2")  # notes among pictures
    (tmp_path / "photos" / "cat" / "2.jpg").write_bytes(b"")
    assert not is_signals(tmp_path / "photos")
    assert not is_signals(tmp_path / "photos" / "cat")
    assert not is_signals("digits")
    (tmp_path / "split" / "train" / "a").mkdir(parents=True)
    assert not is_signals(tmp_path / "split")
    (tmp_path / "split" / "train" / "b" / "deep").mkdir(parents=True)
    (tmp_path / "split" / "train" / "b" / "deep" / "1.npy").write_bytes(b"")
    assert is_signals(tmp_path / "split")
    refused(root, "has series (.csv, .tsv, .npy), not pictures", options=DataOptions())
    refused(tmp_path / "photos", "expected series, a folder for each class")
    refused("digits", "expected series")
    refused(tmp_path / "none", "no such folder or table of series")


def test_tables_that_do_not_fit_together(tmp_path):
    write_ucr(tmp_path, "A", {"TRAIN": 3})
    (tmp_path / "more.csv").write_text("a,1\nb,2\n")
    refused(tmp_path, "A_TRAIN.tsv and more.csv do not fit together")
    (tmp_path / "more.csv").rename(tmp_path / "B_TRAIN.csv")
    refused(tmp_path, "A_TRAIN.tsv and B_TRAIN.csv do not fit together")
    (tmp_path / "A_TRAIN.tsv").unlink()
    (tmp_path / "B_TRAIN.csv").rename(tmp_path / "B_TEST.csv")
    refused(tmp_path, "expected series to train on, found only test")


def test_a_label_that_training_does_not_know(tmp_path):
    write_ucr(tmp_path, "A", {"TRAIN": 6, "TEST": 2})
    path = tmp_path / "A_TEST.tsv"
    path.write_text(path.read_text().replace("funnel", "tunnel"))
    refused(tmp_path, "A_TEST.tsv:3 has the label 'tunnel', which is no class that training knows")
    (tmp_path / "A_TRAIN.tsv").write_text("a\t1\t2\na\t2\t3\n")
    refused(tmp_path, "expected at least two classes, found only 'a'")


# files

TEXTS = {
    "empty": ("x.csv", b"", "the file is empty"),
    "header alone": ("x.csv", b"left,right\n", "has a header and no values"),
    "a word": ("x.csv", b"left,right\n1,2\n3,four\n", "row 3, column 2 is 'four', expected a number"),
    "semicolons": ("x.csv", b"1;2\n3;4\n", "row 2, column 1 is '3;4', expected a number"),
    "semicolons below": (
        "x.csv",
        b"1,2\n3;4,5\n",
        "row 2, column 1 is '3;4', expected a number (columns are parted by a comma)",
    ),
    "a hole": ("x.csv", b"1,2\n,4\n", "row 2, column 1 is empty"),
    "nan": ("x.csv", b"1,2\n3,nan\n", "row 2, column 2 is nan, expected a finite number"),
    "infinite": ("x.tsv", b"1\t2\n-inf\t4\n", "row 2, column 1 is -inf, expected a finite number"),
    "ragged": ("x.csv", b"1,2\n3\n", "row 2 has 1 column, those above have 2"),
    "other width": ("x.csv", b"1,2,3\n4,5,6\n", "has 3 columns, expected 2 as in fall/0.npy"),
    "latin": ("x.csv", b"1,2\n3,\xff\n", "is no UTF-8 text"),
    "not a series": ("x.txt", b"1,2\n", "not a .csv, .tsv or .npy file"),
    "no npy": ("x.npy", b"1,2\n", "is no whole .npy file"),
    "too large": ("x.csv", b"1,2\n1e300,2\n", "has values up to 1e+300, too large for float32"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_file_that_is_no_series(kind, root):
    name, content, reason = TEXTS[kind]
    (root / "rise" / name).write_bytes(content)
    sentence = refused(root, f"rise/{name}", reason)
    if kind != "too large":
        assert "1 of 17 series cannot be used" in sentence
        data = open_data(root, SKIP, seed=0)
        assert [file.path for file in data.unreadable] == [str(root / "rise" / name)]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 4)), "has shape (2, 3, 4), expected T or T x C"),
        (np.zeros((0, 2)), "has shape (0, 2)"),
        (np.array([[1, 2], [3, np.nan]]), "row 2, column 2 is nan"),
        (np.array([1j, 2]), "does not hold an array of real numbers"),
        (np.array([{}, {}]), "is no whole .npy file"),
    ],
)
def test_an_array_that_is_no_series(array, reason, root):
    np.save(root / "rise" / "x.npy", array, allow_pickle=True)
    refused(root, "rise/x.npy", reason)
    np.save(root / "rise" / "x.npy", np.zeros((4, 2), np.int16))
    assert sum(len(split) for split in open_data(root, OPTIONS, seed=0).splits.values()) == 17
    whole = (root / "rise" / "x.npy").read_bytes()
    (root / "rise" / "x.npy").write_bytes(whole[:-3])
    refused(root, "rise/x.npy", "is no whole .npy file")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,1,,2", "row 3, column 3 is empty"),
        ("a,1,NaN,2", "row 3, column 3 is nan"),
        ("a,1,x,2", "row 3, column 3 is 'x'"),
        (",1,2,3", "row 3 has no label"),
        ("a,,,", "row 3 has a label and no values"),
    ],
)
def test_a_row_that_is_no_series(row, reason, tmp_path):
    path = tmp_path / "series.csv"
    path.write_text("\n".join(["a,1,2,3", "b,1,2,3", row, *(f"{x},{k},2,{k}" for k in range(9) for x in "ab")]))
    refused(path, "1 of 21 series cannot be used (series.csv:3: ", reason)
    assert len(open_data(path, SKIP, seed=0).unreadable) == 1
    path.write_text("")
    refused(path, "series.csv: the file is empty")


def test_a_header_is_a_line_without_a_number(tmp_path):
    for text, rows in (("a,b\n1,2\n", 1), ("1,b\n", None), ("nan,b\n1,2\n", None)):
        if rows is None:
            with pytest.raises(InputError, match="row 1, column"):
                read_series(tmp_path / "x.csv", text.encode())
        else:
            assert read_series(tmp_path / "x.csv", text.encode()).shape == (rows, 2)


def test_excluded_files(root):
    options = DataOptions(kind="signals", channels=0, standardize="training", exclude=("rise/1.csv", "rise/2.csv"))
    data = open_data(root, options, seed=0)
    assert data.excluded == ("rise/1.csv", "rise/2.csv")
    assert sum(len(split) for split in data.splits.values()) == 14
    refused(root, "rise/99.csv", options=DataOptions(kind="signals", channels=0, exclude=("rise/99.csv",)))


# from values to input


def test_lengths_by_padding():
    prepared = SignalPreprocessing(2, 4, "pad", mean=(1.0, 2.0), std=(2.0, 4.0))
    series = np.array([[1.0, 2.0], [3.0, 6.0]])
    sample = prepared.fitted(series)
    np.testing.assert_array_equal(sample, [[1, 3, np.nan, np.nan], [2, 6, np.nan, np.nan]])
    np.testing.assert_array_equal(prepared(torch.from_numpy(sample)[None])[0], [[0, 1, 0, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(prepared.fitted(np.arange(12.0).reshape(6, 2)), [[0, 2, 4, 6], [1, 3, 5, 7]])


def test_lengths_by_resampling():
    line = np.linspace(0, 1, 7)[:, None]
    for length in (1, 2, 5, 7, 30):
        expected = np.linspace(0, 1, length) if length > 1 else [0.0]
        np.testing.assert_allclose(SignalPreprocessing(1, length, "stretch").fitted(line)[0], expected, atol=1e-7)
    np.testing.assert_array_equal(SignalPreprocessing(1, 3, "stretch").fitted(np.array([[4.0]])), [[4, 4, 4]])


def test_each_series_by_itself():
    prepared = SignalPreprocessing(2, 5, "pad", "series")
    series = np.random.default_rng(0).normal(3, 5, (3, 2))
    out = prepared(torch.from_numpy(prepared.fitted(series))[None])[0].numpy()
    np.testing.assert_allclose(out[:, :3], ((series - series.mean(0)) / series.std(0)).T, rtol=1e-5)
    np.testing.assert_array_equal(out[:, 3:], 0)
    for length in range(1, 40):
        wide = SignalPreprocessing(2, 40, "pad", "series")
        constant = np.full((length, 2), 1 / 3) * [1, 1e5]
        assert not wide(torch.from_numpy(wide.fitted(constant))[None]).any(), "nothing, not enlarged rounding"


def test_the_training_split_alone_gives_mean_and_deviation(tmp_path):
    for part, add in (("train", 0.0), ("val", 100.0), ("test", 1000.0)):
        write_folders(tmp_path / part, per_class=4, channels=2)
        for path in (tmp_path / part).rglob("*.csv"):
            np.savetxt(path, np.loadtxt(path, delimiter=",") + add, delimiter=",")
    prepared = open_data(tmp_path, OPTIONS, seed=0).preprocessing
    values = [
        np.load(p) if p.suffix == ".npy" else np.loadtxt(p, delimiter=",") for p in (tmp_path / "train").glob("*/*")
    ]
    np.testing.assert_allclose(prepared.mean, np.concatenate(values).mean(0), rtol=1e-6)
    np.testing.assert_allclose(prepared.std, np.concatenate(values).std(0), rtol=1e-6)


def test_a_channel_that_never_changes(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for k in range(4):
            np.save(tmp_path / label / f"{k}.npy", np.stack([np.full(5, 3.0), np.arange(5.0) * k], 1))
    prepared = open_data(tmp_path, OPTIONS, seed=0).preprocessing
    assert (prepared.mean[0], prepared.std[0]) == (3.0, 1.0)


def test_json_says_which_it_is():
    signals = SignalPreprocessing(2, 50, "stretch", mean=(1.0, 2.0), std=(0.1, 1 / 3))
    pictures = Preprocessing(3, (8, 8), mean=(0.1, 0.2, 0.3))
    for prepared in (signals, pictures):
        assert preparation_from_json(json.loads(json.dumps(prepared.to_json()))) == prepared
    assert "kind" not in pictures.to_json(), "as in bundles of old"
    with pytest.raises(InputError, match="not a description this version understands"):
        preparation_from_json({"kind": "signals", "channels": 1})
    with pytest.raises(InputError, match="not a description this version understands"):
        preparation_from_json({"kind": "volumes"})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fit": "crop"}, "data: fit of series must be 'pad' or 'stretch', got 'crop'"),
        ({"size": (8, 8)}, "data: size is a setting of pictures; the length of series is data.length"),
        ({"border": 1}, "data: border is a setting of pictures"),
        ({"length": -1}, "data: channels and length of series must be 0 (as the files have them) or more"),
        ({"task": "segmentation"}, "data: series have one label each"),
        ({"standardize": "whole"}, "data: standardize must be 'given', 'training' or 'series', got 'whole'"),
        ({"channels": 2, "length": 5, "mean": (1.0, 2.0, 3.0)}, "preprocessing: mean needs 1 or 2 numbers"),
        ({"channels": 2, "length": 5, "std": (0.0,)}, "preprocessing: std must be above 0"),
        ({"kind": "pictures", "length": 5}, "data: length and standardize are settings of series"),
    ],
)
def test_options_that_do_not_fit(settings, sentence):
    with pytest.raises(InputError) as caught:
        DataOptions(**{"kind": "signals", **settings})
    assert sentence in str(caught.value)


def test_options_know_when_they_are_complete(root):
    with pytest.raises(InputError, match="known when they are opened"):
        OPTIONS.preparation()
    with pytest.raises(InputError, match="options of series, not of pictures"):
        OPTIONS.preprocessing()
    data = open_signals(root, OPTIONS, seed=0)
    assert OPTIONS.like(data.preprocessing).preparation() == data.preprocessing
    pictures = DataOptions(channels=3, size=(7, 9), border=1, crop_to=(8, 8))
    assert DataOptions().like(pictures.preprocessing()) == pictures
    assert OPTIONS.like(pictures.preprocessing()).preparation() == pictures.preprocessing()


# augmentation


def changed(canvas, **options):
    keys = sample_keys([str(k) for k in range(len(canvas))])
    return augment_signals(canvas, keys, seed=1, epoch=2, options=Augmentation(**options))


def test_changes_are_keyed_and_leave_the_input():
    canvas = torch.randn(6, 2, 40)
    before = canvas.clone()
    options = Augmentation(shift=0.2, scale=0.3, noise=0.1)
    keys = sample_keys([str(k) for k in range(6)])
    whole = augment_signals(canvas, keys, seed=1, epoch=2, options=options)
    assert torch.equal(canvas, before)
    rows = [4, 1]
    assert torch.equal(augment_signals(canvas[rows], keys[rows], seed=1, epoch=2, options=options), whole[rows])
    assert not torch.equal(augment_signals(canvas, keys, seed=1, epoch=3, options=options), whole)
    assert not torch.equal(augment_signals(canvas, keys, seed=2, epoch=2, options=options), whole)
    assert torch.equal(augment_signals(canvas, keys, seed=1, epoch=2, options=Augmentation()), canvas)
    assert augment_signals(canvas[:0], keys[:0], seed=1, epoch=2, options=options).shape == (0, 2, 40)


def test_shift_moves_whole_steps():
    canvas = torch.arange(1.0, 21.0).expand(50, 2, 20)
    seen = set()
    for series in changed(canvas, shift=0.25):
        assert torch.equal(series[0], series[1])
        steps = next(s for s in range(-5, 6) if torch.equal(series[0], _moved(canvas[0, 0], s)))
        seen.add(steps)
    assert min(seen) < -2
    assert max(seen) > 2


def _moved(values, steps):
    out = torch.zeros_like(values)
    if steps >= 0:
        out[steps:] = values[: len(values) - steps]
    else:
        out[:steps] = values[-steps:]
    return out


def test_scale_multiplies_and_noise_is_normal():
    ones = torch.ones(400, 1, 3)
    factors = changed(ones, scale=0.25)
    assert torch.equal(factors[:, 0, 0], factors[:, 0, 2])
    assert 0.8 <= factors.min() < 0.85
    assert 1.18 < factors.max() <= 1.25
    noise = changed(torch.zeros(200, 2, 100), noise=0.5).double()
    assert abs(noise.mean()) < 0.5 * 4 / 200
    assert abs(noise.std() - 0.5) < 0.01
    assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < 0.25 * 4 / 199
    assert noise.unique().numel() > 39_000


def test_settings_of_the_other_kind():
    Augmentation(shift=0.1, noise=0.1).require_kind("signals")
    with pytest.raises(
        InputError, match="augmentation: flip is no change for signals: these take shift, scale and noise"
    ):
        Augmentation(flip=0.5).require_kind("signals")
    with pytest.raises(InputError, match="augmentation: noise is no change for pictures"):
        Augmentation(noise=0.5).require_kind("pictures")


def test_fitted_names_the_series():
    with pytest.raises(InputError, match=r"a/1\.csv: has values up to 1e"):
        fitted("a/1.csv", np.array([[1e39]]), SignalPreprocessing(1, 2))
