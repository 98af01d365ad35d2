"""The sets known by name, read from files made here in their formats."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from striate.data import ClassMap, DataOptions, open_data
from striate.data.sources.idx import read_idx
from striate.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (240, 28, 28), dtype=np.uint8)
LABELS = np.arange(240, dtype=np.uint8) % 10
TEST_PIXELS, TEST_LABELS = PIXELS[:30] // 2, LABELS[:30]
RECORDS = RNG.integers(0, 256, (6, 20, 3073), dtype=np.uint8)
RECORDS[:, :, 0] = np.arange(20) % 10


def idx(values, magic=None, shape=None):
    shape = values.shape if shape is None else shape
    magic = bytes((0, 0, 8, len(shape))) if magic is None else magic
    return magic + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


FILES = {
    "train-images-idx3-ubyte": idx(PIXELS),
    "train-labels-idx1-ubyte": idx(LABELS),
    "t10k-images-idx3-ubyte": idx(TEST_PIXELS),
    "t10k-labels-idx1-ubyte": idx(TEST_LABELS),
}


def write_mnist(folder, packed=False, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (FILES | {name.replace("_", "-"): data for name, data in changed.items()}).items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return folder


def test_digits_are_those_of_scikit_learn():
    data = open_data("digits", DataOptions(size=(8, 8)), seed=0)
    values, labels = load_digits(return_X_y=True)
    seen = set()
    for split in data.splits.values():
        images = split.load(range(len(split)))
        for name, label, image in zip(split.ids, split.labels, images, strict=True):
            k = int(name.removeprefix("digits/"))
            assert label == labels[k]
            np.testing.assert_allclose(image.ravel(), values[k] * 255 / 16, atol=0.5)
            seen.add(k)
    assert seen == set(range(1797))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [1347, 150, 300]


def test_digits_are_brought_to_size_and_channels():
    data = open_data("digits", DataOptions(channels=3, size=(30, 28)), seed=0)
    assert data.splits["val"].load([0, 1]).shape == (2, 3, 30, 28)


def test_the_seed_decides_what_is_set_aside_class_by_class():
    same, again, other = (open_data("digits", DataOptions(), seed=seed) for seed in (0, 0, 1))
    for name in ("train", "val", "test"):
        assert same.splits[name].ids == again.splits[name].ids
        assert same.splits[name].ids != other.splits[name].ids
        shares = np.bincount(same.splits[name].labels) / np.bincount(load_digits().target)
        assert np.ptp(shares) < 0.02
    # the division of a seed never changes from one version to the next
    first = {name: [int(sample[-4:]) for sample in split.ids[:4]] for name, split in same.splits.items()}
    assert first == {"train": [1, 3, 5, 6], "val": [4, 10, 53, 54], "test": [0, 2, 12, 20]}
    assert same.fingerprint == again.fingerprint
    assert same.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_like_files(name, packed, tmp_path):
    data = open_data(name, DataOptions(), seed=0, data_root=write_mnist(tmp_path, packed))
    train, val, test = (data.splits[part] for part in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (220, 20, 30)  # 1/12 of the training file is set aside
    assert np.bincount(val.labels).tolist() == [2] * 10
    assert sorted(train.ids + val.ids) == [f"train/{k:05}" for k in range(240)]
    for split in (train, val):
        rows = [int(name.removeprefix("train/")) for name in split.ids]
        np.testing.assert_array_equal(split.load(range(len(split)))[:, 0], PIXELS[rows])
        np.testing.assert_array_equal(split.labels, LABELS[rows])
    np.testing.assert_array_equal(test.load(range(30))[:, 0], TEST_PIXELS)
    assert test.ids[29] == "test/00029"
    assert data.classes.names[9] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[name]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train_labels_idx1_ubyte": idx(LABELS[:-1])},
            "train-labels-idx1-ubyte: expected 240 labels, one for each image in train-images-idx3-ubyte, found 239",
        ),
        (
            {"train_labels_idx1_ubyte": idx(np.where(np.arange(240) == 7, 10, LABELS).astype(np.uint8))},
            "train-labels-idx1-ubyte: expected labels from 0 to 9, found 10 at position 7",
        ),
        (
            {"t10k_images_idx3_ubyte": idx(TEST_PIXELS, magic=b"\0\0\x08\x01")},
            "t10k-images-idx3-ubyte: not an IDX file of this kind: it must begin with 00000803, found '00000801'",
        ),
        ({"t10k_images_idx3_ubyte": b""}, "t10k-images-idx3-ubyte: not an IDX file of this kind: it must begin with"),
        (
            {"t10k_images_idx3_ubyte": FILES["t10k-images-idx3-ubyte"][:9]},
            "t10k-images-idx3-ubyte: the file ends within its header, after 9 bytes: get it again",
        ),
        (
            {"t10k_images_idx3_ubyte": FILES["t10k-images-idx3-ubyte"][:-1]},
            "t10k-images-idx3-ubyte: the header announces 23,520 bytes of data, the file has only 23,519: get it again",
        ),
        (
            {"t10k_images_idx3_ubyte": FILES["t10k-images-idx3-ubyte"] + b"1"},
            "t10k-images-idx3-ubyte: the header announces 23,520 bytes of data, the file has more: get it again",
        ),
        (
            {"t10k_images_idx3_ubyte": idx(TEST_PIXELS, shape=(2**31, 28, 28))},
            "t10k-images-idx3-ubyte: the header announces 1,683,627,180,032 bytes, more than any set of this kind",
        ),
        (
            {"t10k_images_idx3_ubyte": idx(TEST_PIXELS, shape=(30, 14, 56))},
            "t10k-images-idx3-ubyte: expected images of 28 x 28, found 14 x 56: not a file of this set",
        ),
        (
            {"t10k_images_idx3_ubyte": idx(TEST_PIXELS[:0]), "t10k_labels_idx1_ubyte": idx(TEST_LABELS[:0])},
            "t10k-labels-idx1-ubyte: expected labelled images, found none",
        ),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_wrong_idx_file_is_named_in_one_sentence(changed, message, packed, tmp_path):
    root = write_mnist(tmp_path, packed, **changed)
    with pytest.raises(InputError) as caught:
        open_data("mnist", DataOptions(), seed=0, data_root=root)
    assert str(caught.value).replace(".gz", "").startswith(f"{root}/{message}")


def test_a_compressed_file_that_breaks_off(tmp_path):
    path = tmp_path / "labels.gz"
    whole = gzip.compress(idx(LABELS))
    for data in (whole[:-1], whole[:20], whole[:3], whole[:15] + b"\xff" * 20):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"labels.gz: the compressed file is damaged or incomplete"):
            read_idx(path, 1)


def test_a_missing_idx_file(tmp_path):
    with pytest.raises(InputError, match=r"gone cannot be read \(No such file or directory\)"):
        read_idx(tmp_path / "gone", 1)


NAMES = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]


def write_cifar(folder, contents=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in zip(NAMES, contents or [table.tobytes() for table in RECORDS], strict=True):
        (folder / name).write_bytes(data)


def write_archive(path, names=NAMES, prefix="cifar-10-batches-bin/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, table in zip(names, RECORDS, strict=False):
            info = tarfile.TarInfo(prefix + name)
            info.size = table.nbytes
            archive.addfile(info, io.BytesIO(table.tobytes()))
        link = tarfile.TarInfo(prefix + "readme.html")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


@pytest.mark.parametrize("way", ["folder", "own folder", "archive", "hostile archive"])
def test_cifar10(way, tmp_path):
    if way == "folder":
        write_cifar(tmp_path)
    elif way == "own folder":
        write_cifar(tmp_path / "cifar-10-batches-bin")
    else:
        write_archive(tmp_path / "cifar-10-binary.tar.gz", prefix="../../" if way == "hostile archive" else "bin/")
    before = sorted(tmp_path.parent.rglob("*"))
    data = open_data("cifar10", DataOptions(channels=3, size=(32, 32), val_fraction=0.1), seed=0, data_root=tmp_path)
    assert sorted(tmp_path.parent.rglob("*")) == before  # nothing is unpacked to disk
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "val": 10, "test": 20}
    table = RECORDS[:5].reshape(100, 3073)
    for part in ("train", "val"):
        split = data.splits[part]
        rows = [int(name.removeprefix("train/")) for name in split.ids]
        images = split.load(range(len(split)))
        np.testing.assert_array_equal(split.labels, table[rows, 0])
        np.testing.assert_array_equal(images[:, 1, 0, 5], table[rows, 1 + 1024 + 5])  # green, first row, sixth column
        np.testing.assert_array_equal(images[:, 2, 31, 0], table[rows, 1 + 2048 + 31 * 32])
    assert data.classes.names[3] == "cat"


def test_cifar10_in_grey_at_another_size(tmp_path):
    write_cifar(tmp_path)
    data = open_data("cifar10", DataOptions(channels=1, size=(20, 24)), seed=0, data_root=tmp_path)
    assert data.splits["test"].load([3]).shape == (1, 1, 20, 24)


def test_wrong_cifar10_files_are_named(tmp_path):
    good = [table.tobytes() for table in RECORDS]
    options = DataOptions(channels=3, size=(32, 32))
    cases = {
        "data_batch_2.bin: expected records of 3,073 bytes, found 61,459 bytes: get it again": [good[0], good[1][:-1]],
        "data_batch_1.bin: expected records of 3,073 bytes, found 0 bytes: get it again": [b"", good[1]],
        "data_batch_2.bin: expected labels from 0 to 9, found 10 at position 0": [good[0], b"\x0a" + good[1][1:]],
    }
    for message, first in cases.items():
        write_cifar(tmp_path, [*first, *good[2:]])
        with pytest.raises(InputError) as caught:
            open_data("cifar10", options, seed=0, data_root=tmp_path)
        assert str(caught.value) == f"{tmp_path}/{message}"
    write_cifar(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(InputError, match=r"data_batch_4.bin cannot be read \(No such file or directory\): all six"):
        open_data("cifar10", options, seed=0, data_root=tmp_path)


def test_wrong_cifar10_archives_are_named(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, names=["data_batch_1"])
    with pytest.raises(InputError, match=r"tar.gz: expected data_batch_1.bin in the archive, found none: it must be"):
        open_data("cifar10", DataOptions(), seed=0, data_root=tmp_path)
    write_archive(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cifar-10-binary.tar.gz: the archive is damaged or incomplete"):
        open_data("cifar10", DataOptions(), seed=0, data_root=tmp_path)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"cifar-10-binary.tar.gz: the archive is damaged or incomplete"):
        open_data("cifar10", DataOptions(), seed=0, data_root=tmp_path)


def test_classes_that_must_be_others():
    with pytest.raises(
        InputError, match=r"^the classes of digits are not the 2 that were expected: missing 'cat', 'dog'"
    ):
        open_data("digits", DataOptions(), seed=0, classes=ClassMap(["cat", "dog"]))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("minst", "no known data set and no folder 'minst'; did you mean 'mnist'?"),
        ("zzz", "no known data set and no folder 'zzz'; known: cifar10, digits, fashion-mnist, mnist"),
        ("no/such/place", "no such folder: no/such/place"),
    ],
)
def test_a_name_that_is_nothing(where, message):
    with pytest.raises(InputError) as caught:
        open_data(where, DataOptions(), seed=0)
    assert str(caught.value) == message


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "pictures.zip").touch()
    with pytest.raises(
        InputError, match=r"pictures.zip is a file: expected a folder of images, or one of digits, mnist,"
    ):
        open_data(tmp_path / "pictures.zip", DataOptions(), seed=0)
