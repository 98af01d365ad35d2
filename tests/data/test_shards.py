"""Shards: what names mean, what is in them, everything that can be wrong, an order that stays near, exact ranges."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import png, samples, tar, write_shards
from striate.data import (
    ClassMap,
    DataOptions,
    ImageError,
    ShardSplit,
    batches,
    decode_image,
    lasting,
    open_data,
    open_for_evaluation,
)
from striate.data import write_shards as pack
from striate.data._shards import WINDOW
from striate.data.sources import shard_index
from striate.data.sources.shard_files import find_shards, is_shards
from striate.errors import InputError, StriateError

OPTIONS = DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2)
SKIP = DataOptions(channels=3, size=(6, 8), val_fraction=0.2, test_fraction=0.2, unreadable="skip")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "striate" / "shards"


@pytest.fixture
def root(tmp_path):
    return write_shards(tmp_path / "data", {"train": [8, 8, 8], "val": [6], "test": [6]})


def refused(where, *words, options=OPTIONS):
    with pytest.raises(InputError) as caught:
        open_data(where, options, seed=0)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


# what is opened


def test_a_folder_of_named_splits(root):
    (root / "README.md").write_text("my shards")
    data = open_data(root, OPTIONS, seed=0)
    assert data.classes.names == ("dark", "light")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "val": 6, "test": 6}
    assert data.ignored == ("README.md",)
    train = data.splits["train"]
    assert isinstance(train, ShardSplit)
    assert train.ids[8] == "train-000001.tar/00100000"
    assert train.labels.tolist() == [0, 1] * 12


def test_every_picture_is_the_one_in_the_tar_file(root):
    """Against another reader: tarfile from the beginning, decoded by the function for files."""
    data = open_data(root, OPTIONS, seed=0)
    for split in data.splits.values():
        order = np.random.default_rng(0).permutation(len(split))
        loaded = split.load(order, threads=2)
        assert (loaded.dtype, loaded.shape) == (np.uint8, (len(split), 3, 6, 8))
        for row, image in zip(order, loaded, strict=True):
            shard, _, key = split.ids[row].partition("/")
            with tarfile.open(root / shard) as archive:
                content = archive.extractfile(f"{key}.png").read()
                label = archive.extractfile(f"{key}.cls").read().decode()
            np.testing.assert_array_equal(image, decode_image(content, OPTIONS.preprocessing()))
            assert data.classes.names[split.labels[row]] == label
    assert split.load([]).shape == (0, 3, 6, 8)
    np.testing.assert_array_equal(split.subset([4, 1]).load([0, 1]), split.load([4, 1]))


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("{}/train-{{000000..000001}}.tar", {"train": 2}),
        ("{}/train-*.tar", {"train": 3}),
        ("{}/*.tar", {"train": 3, "val": 1, "test": 1}),
        ("{}/{{train-{{000000..000002}}.tar,val-000000.tar}}", {"train": 3, "val": 1}),
        ("{}/train-000001.tar", {"train": 1}),
    ],
)
def test_patterns(pattern, parts, root):
    found = find_shards(pattern.format(root))
    assert {part: len(names) for part, names in found.parts.items()} == parts
    data = open_data(pattern.format(root), OPTIONS, seed=0)
    assert list(data.splits) == ["train", "val", "test"]
    assert all(len(split) for split in data.splits.values())


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-000000.tar", "train"),
        ("imagenet1k-validation-07.tar", "val"),
        ("my_valid_3.tar", "val"),
        ("Testing.tar", "test"),
        ("training/0.tar", "train"),
        ("trainer-0.tar", ""),
        ("0.tar", ""),
    ],
)
def test_the_word_in_a_name_tells_its_split(name, part, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    assert list(find_shards(tmp_path / name).parts) == [part]


def test_folders_of_splits(tmp_path):
    write_shards(tmp_path / "data" / "train", {"": [6]})
    write_shards(tmp_path / "data" / "val", {"": [4]})
    data = open_data(tmp_path / "data", OPTIONS, seed=0)
    assert len(data.splits["val"]) == 4
    assert len(data.splits["train"]) + len(data.splits["test"]) == 6
    assert data.splits["val"].ids[0] == "val/-000000.tar/00000000"


def test_a_relative_folder_and_one_file(root, monkeypatch):
    monkeypatch.chdir(root)
    for where in (".", "train-000000.tar", Path("train-000000.tar"), "train-{000000..000002}.tar"):
        assert open_data(where, OPTIONS, seed=0).splits["train"].load([0]).shape == (1, 3, 6, 8)


def test_class_folders_with_a_tar_file_beside_them_are_pictures(tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(4):
            (tmp_path / "photos" / name / f"{k}.png").write_bytes(png(hash((name, k)) % 1000))
    (tmp_path / "photos" / "photos.tar").write_bytes(b"")
    assert not is_shards(tmp_path / "photos")
    assert open_data(tmp_path / "photos", OPTIONS, seed=0).classes.names == ("a", "b")


def test_splits_are_set_aside_as_from_a_folder(tmp_path):
    """The same pictures go to the same splits, from a folder and from shards that name none."""
    write_shards(tmp_path / "data", {"all": [20, 20]})
    data = open_data(tmp_path / "data", OPTIONS, seed=3)
    with (
        tarfile.open(tmp_path / "data" / "all-000000.tar") as one,
        tarfile.open(tmp_path / "data" / "all-000001.tar") as two,
    ):
        for archive in (one, two):
            for member in archive:
                if member.name.endswith(".png"):
                    label = archive.extractfile(member.name.replace(".png", ".cls")).read().decode()
                    (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
                    (tmp_path / "photos" / label / member.name).write_bytes(archive.extractfile(member).read())
    folder = open_data(tmp_path / "photos", OPTIONS, seed=3)
    for part in data.splits:
        assert {Path(name).name for name in data.splits[part].ids} == {
            Path(name).stem for name in folder.splits[part].ids
        }


def test_another_file_system(root):
    """Through fsspec: the same data to the last bit as from the disk."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in root.iterdir():
        memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    memory.pipe("/bucket/classes.txt", b"light\ndark\n")
    here = open_data(root, OPTIONS, seed=0)
    for where in ("memory://bucket", "memory://bucket/*.tar", "memory://bucket/{train,val,test}-000000.tar"):
        data = open_data(where, OPTIONS, seed=0)
        assert data.classes.names == ("light", "dark")
        assert data.name == lasting(where) == where
        np.testing.assert_array_equal(data.splits["val"].load(range(6)), here.splits["val"].load(range(6)))
    memory.rm("/bucket/val-000000.tar")
    with pytest.raises(ImageError, match=r"val-000000\.tar/00300000: its shard cannot be read"):
        data.splits["val"].load([0])
    refused("memory://bucket/{train,val}-000000.tar", "bucket/val-000000.tar: no such shard")
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("where", "words"),
    [("nope://bucket/train.tar", "Protocol not known: nope"), ("memory://nothing/train-000000.tar", "no such shard")],
)
def test_addresses_that_lead_nowhere(where, words):
    refused(where, words)


# classes


@pytest.mark.parametrize("file", ["classes.txt", "classes.json"])
def test_numbers_mean_the_names_in_the_file(file, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "train.tar").write_bytes(tar(samples(0, 12, ("1", "0"))))
    (root / "val.tar").write_bytes(tar(samples(1, 6, ("owl", "cat"))))
    names = ["cat", "owl", "never seen"]
    (root / file).write_text("\n".join(names) + "\n" if file.endswith("txt") else json.dumps(names))
    data = open_data(root, OPTIONS, seed=0)
    assert data.classes.names == tuple(names)
    assert data.splits["val"].labels.tolist() == [1, 0] * 3
    assert data.absent("val") == ["never seen"]


def test_numbers_without_names_are_names_in_their_order(tmp_path):
    (tmp_path / "train.tar").write_bytes(tar(samples(0, 12, ("10", "9"))))
    assert open_data(tmp_path / "train.tar", OPTIONS, seed=0).classes.names == ("9", "10")


def test_labels_in_json(tmp_path):
    files = []
    for k, label in enumerate([0, 1, "dark", "light"] * 3):
        files += [(f"{k}.png", png(k)), (f"{k}.json", json.dumps({"label": label, "width": 9}).encode())]
    (tmp_path / "train.tar").write_bytes(tar(files))
    (tmp_path / "classes.txt").write_text("dark\nlight")
    data = open_data(tmp_path / "train.tar", OPTIONS, seed=0)
    assert data.counts()["train"].keys() == {"dark", "light"}
    assert sum(sum(row.values()) for row in data.counts().values()) == 12


def test_classes_that_differ_between_splits(root):
    (root / "val-000000.tar").write_bytes(tar(samples(9, 4, ("dark", "dim"))))
    refused(root, "val-000000.tar/00900001: its label 'dim' is no class that training knows ('dark', 'light')")
    (root / "classes.txt").write_text("dark\nlight\n")
    refused(root, "its label 'dim' is no class")
    (root / "val-000000.tar").write_bytes(tar(samples(9, 4, ("0", "2"))))
    refused(root, "its label '2' is no class")


def test_name_files_that_differ_between_splits(tmp_path):
    for part, names in (("train", "dark\nlight"), ("val", "dark\nbright")):
        write_shards(tmp_path / part, {"": [6]})
        (tmp_path / part / "classes.txt").write_text(names)
    refused(tmp_path, "val/classes.txt", "missing 'light'; unknown 'bright'")
    (tmp_path / "val" / "classes.txt").write_text("dark\nlight\n\n")
    assert len(open_data(tmp_path, OPTIONS, seed=0).classes) == 2
    (tmp_path / "val" / "classes.txt").write_text("dark\ndark\n")
    refused(tmp_path, "val/classes.txt: expected the names of the classes", "'dark' is there more than once")


def test_a_model_refuses_other_classes(root):
    data = open_data(root, OPTIONS, seed=0)
    with pytest.raises(InputError, match="label 'dark' is no class that training knows"):
        open_for_evaluation(root, data.preprocessing, ClassMap(["light", "bright"]), split="val")
    (root / "classes.txt").write_text("light\ndark\n")
    with pytest.raises(InputError, match="the order differs from class 0 on"):
        open_for_evaluation(root, data.preprocessing, data.classes, split="val")


# what can be wrong with a shard


def test_a_shard_cut_short(root):
    path = root / "train-000001.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in archive)
    for size in (end, end - 600, end - 1200, len(whole) // 2, 700, 300):  # between members, in data, in headers
        path.write_bytes(whole[:size])
        refused(root, "train-000001.tar: ", "cut short" if size > 512 else "truncated header")
    path.write_bytes(whole)
    assert len(open_data(root, OPTIONS, seed=0).splits["train"]) == 24


def test_a_damaged_shard(root):
    path = root / "train-000001.tar"
    whole = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        place = archive.getmembers()[4].offset
    whole[place + 10 : place + 200] = b"x" * 190
    path.write_bytes(whole)
    refused(root, f"train-000001.tar: the shard is damaged after {place:,} bytes")
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    refused(root, "train-000001.tar: not a tar file")


def test_an_empty_shard(root):
    (root / "train-000001.tar").write_bytes(b"")
    refused(root, "train-000001.tar: the shard is empty, 0 bytes")
    (root / "train-000001.tar").write_bytes(tar([]))
    refused(root, "train-000001.tar: the shard holds no samples")
    (root / "train-000001.tar").write_bytes(tar([("notes.txt", b"nothing here")]))
    refused(root, "train-000001.tar: the shard holds no samples")


@pytest.mark.parametrize(("pack", "word"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_a_compressed_shard(pack, word, root):
    path = root / "train-000001.tar"
    path.write_bytes(pack(path.read_bytes()))
    refused(root, f"train-000001.tar: the shard is compressed ({word}): unpack it")
    path.rename(root / "train-000001.tar.gz")
    refused(root, "train-000001.tar.gz: the shard is compressed", "unpack it (gunzip)")
    refused(root / "train-000001.tar.gz", "the shard is compressed")


def test_a_missing_shard(root):
    (root / "train-000001.tar").unlink()
    refused(root, "shards are missing between others, 'train-000001.tar'", "'train-*.tar'")
    refused(f"{root}/train-{{000000..000002}}.tar", "train-000001.tar: no such shard")
    assert len(open_data(f"{root}/train-*.tar", OPTIONS, seed=0).classes) == 2


def test_names_that_do_not_fit_together(root):
    refused(f"{root}/none-*.tar", "no file has such a name")
    refused(f"{root}/train-{{5..1}}.tar", "{5..1} must count up")
    refused(f"{root}/train-{{0..1.tar", "has a brace that nothing closes")
    refused(f"{root}/train-{{000000,000000}}.tar", "a name is there twice")
    refused(f"{root}/train-000000.{{tar,zip}}", "train-000000.zip does not")
    refused(f"{root}/val-000000.tar", "expected shards to train on, found only those of val")
    (root / "more.tar").write_bytes(b"")
    refused(root, "more.tar does not say to which split it belongs")
    (root / "more.tar").rename(root / "train-val.tar")
    refused(root, "train-val.tar names two splits")


def test_a_key_that_comes_twice(root):
    files = samples(1, 4)
    path = root / "train-000001.tar"
    path.write_bytes(tar([*files, *files[:2]]))
    refused(root, "train-000001.tar: the key '00100000' is there more than once")
    path.write_bytes(tar([*files, files[-1]]))
    refused(root, "train-000001.tar: the file '00100003.cls' is there more than once")


# what can be wrong with a sample

FAULTS = {
    "no label": ([("x.png", png(1))], "has no label: add KEY.cls"),
    "label without value": ([("x.png", png(1)), ("x.json", b'{"caption": "a"}')], "has no label: add KEY.cls"),
    "no picture": ([("x.cls", b"dark")], "has a label (.cls) and no picture"),
    "two pictures": ([("x.png", png(1)), ("x.jpg", png(2)), ("x.cls", b"dark")], "has 2 pictures (.png, .jpg)"),
    "unreadable": ([("x.png", png(1)[:-40]), ("x.cls", b"dark")], "the picture is damaged or incomplete"),
    "no picture at all": ([("x.jpg", b"<html>"), ("x.cls", b"dark")], "not a JPEG, PNG"),
    "empty label": ([("x.png", png(1)), ("x.cls", b" \n")], "its .cls has no label in it"),
    "binary label": ([("x.png", png(1)), ("x.cls", b"\xff\xfe")], "its .cls is no UTF-8 text"),
    "no JSON": ([("x.png", png(1)), ("x.json", b"{label: 1}")], "its .json is no JSON"),
    "JSON list": ([("x.png", png(1)), ("x.json", b'{"label": [1]}')], "its .json has no label in it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sample_that_cannot_be_used(fault, root):
    files, reason = FAULTS[fault]
    (root / "train-000001.tar").write_bytes(tar([*samples(1, 4), *files, *samples(5, 2)]))
    refused(root, "1 of 35 samples cannot be used", "train-000001.tar/x: ", reason, "data.unreadable=skip")
    data = open_data(root, SKIP, seed=0)
    assert len(data.splits["train"]) == 22
    (left,) = data.unreadable
    assert left.path == f"{root}/train-000001.tar/x"
    assert reason in left.reason


def test_two_labels(root):
    files = [("x.png", png(1)), ("x.cls", b"dark"), ("x.json", b'{"label": "light"}')]
    (root / "train-000001.tar").write_bytes(tar(files))
    refused(root, "train-000001.tar/x: has two labels, 'dark' and 'light' (.cls and .json)")
    (root / "classes.txt").write_text("light\ndark")
    files[1] = ("x.cls", b"0")  # the same class as the name in JSON
    (root / "train-000001.tar").write_bytes(tar(files))
    assert len(open_data(root, OPTIONS, seed=0).splits["train"]) == 17


def test_files_that_belong_to_no_sample(root):
    extra = [("README.md", b"hello"), ("dir/.hidden.png", b"?"), ("00100000.seg.png", b"?")]
    path = root / "train-000001.tar"
    path.write_bytes(tar([extra[0], *samples(1, 1), extra[2], extra[1], *samples(2, 3)]))
    data = open_data(root, OPTIONS, seed=0)
    assert len(data.splits["train"]) == 20
    assert data.ignored == ("train-000001.tar/README.md",)


def test_everything_excluded_or_unusable(root):
    ids = open_data(root, OPTIONS, seed=0).splits["train"].ids
    some = DataOptions(channels=3, size=(6, 8), exclude=tuple(sorted(ids[:5])))
    data = open_data(root, some, seed=0)
    assert (len(data.splits["train"]), len(data.excluded)) == (19, 5)
    refused(root, "names 'train-000000.tar/none'", options=DataOptions(exclude=("train-000000.tar/none",)))
    (root / "val-000000.tar").write_bytes(tar([("x.png", png(1))]))
    refused(root, "no sample of val can be used", options=SKIP)


def test_masks_need_a_folder(root):
    refused(root, "shards have a label per picture and no masks", options=DataOptions(task="segmentation"))


# the index


def test_the_index_is_kept_until_a_shard_changes(root, cache, monkeypatch):
    first = open_data(root, OPTIONS, seed=0)
    assert len(list(cache.iterdir())) == 5
    read = []
    real = shard_index.read_index
    monkeypatch.setattr(shard_index, "read_index", lambda *a: read.append(a[1]) or real(*a))
    assert open_data(root, OPTIONS, seed=0).fingerprint == first.fingerprint
    assert read == []
    path = root / "train-000001.tar"
    path.write_bytes(tar(samples(7, 8)))
    changed = open_data(root, OPTIONS, seed=0)
    assert read == ["train-000001.tar"]
    assert changed.fingerprint != first.fingerprint
    for file in cache.iterdir():
        file.write_text(file.read_text()[:100])  # damaged: read anew
    assert open_data(root, OPTIONS, seed=0).fingerprint == changed.fingerprint
    assert len(read) == 6


def test_a_cache_that_cannot_be_written_is_no_matter(root, cache):
    cache.parent.parent.mkdir(parents=True)
    cache.parent.write_text("a file where the folder should be")
    assert len(open_data(root, OPTIONS, seed=0).splits["train"]) == 24


def test_a_shard_that_changes_after_it_was_opened(root):
    data = open_data(root, OPTIONS, seed=0)
    (root / "train-000001.tar").write_bytes(tar(samples(7, 8)))
    with pytest.raises(ImageError, match=r"train-000001\.tar/00100000: its shard is not what it was"):
        data.splits["train"].load([8])
    (root / "train-000001.tar").unlink()
    with pytest.raises(ImageError, match=r"train-000001\.tar/00100000: its shard cannot be read"):
        next(iter(batches(data.splits["train"], [8], 1)))


def test_progress_counts_megabytes(root):
    noisy = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noisy).save(memory, "PNG")
    (root / "train-000001.tar").write_bytes(tar([("x.png", memory.getvalue()), ("x.cls", b"dark"), *samples(8, 2)]))
    told = []
    open_data(root, OPTIONS, seed=0, progress=lambda *step: told.append(step))
    assert {what for _, _, what in told} == {"indexing shards, MB"}
    assert {total for _, total, _ in told} == {3}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == 2


# order


def test_the_order_stays_near_and_is_a_function(tmp_path):
    sizes = [3, 5, 4, 6, 2, 7, 4, 4, 5, 3, 6, 2, 4, 5, 3, 4, 4, 6, 5, 2]
    split = open_data(
        write_shards(tmp_path / "data", {"train": sizes, "val": [4], "test": [4]}), OPTIONS, seed=0
    ).splits["train"]
    orders = {(seed, epoch): split.order(seed, epoch) for seed in (0, 1) for epoch in range(3)}
    for (seed, epoch), order in orders.items():
        assert sorted(order) == list(range(len(split)))
        np.testing.assert_array_equal(order, split.order(seed, epoch))
        windows = list(_windows(split.places.shard[order]))
        assert [len(window) for window in windows] == [WINDOW, WINDOW, len(sizes) - 2 * WINDOW]
        assert set().union(*windows) == set(range(len(sizes)))
    assert len({tuple(order) for order in orders.values()}) == 6
    first = [frozenset(next(_windows(split.places.shard[order]))) for order in orders.values()]
    assert len(set(first)) > 1, "shards are shuffled, too"


def _windows(shards):
    """The sets of WINDOW shards that are finished before another shard begins; the rest is the last."""
    last = {int(shard): k for k, shard in enumerate(shards)}
    window: set[int] = set()
    for k, shard in enumerate(shards):
        window.add(int(shard))
        if k == len(shards) - 1 or (len(window) == WINDOW and max(last[one] for one in window) == k):
            yield window
            window = set()


# writing


@pytest.fixture
def photos(tmp_path):
    place = tmp_path / "photos"
    for label, shade in (("dark", 60), ("light", 190)):
        (place / label / "more").mkdir(parents=True)
        for k in range(10):
            (place / label / f"a.photo.{k}.png").write_bytes(png(k, shade))
        Image.open(io.BytesIO(png(99, shade))).save(place / label / "more" / "1.jpg")
        Image.open(io.BytesIO(png(98, shade))).save(place / label / "more" / "1.bmp")
        (place / label / "no ending").write_bytes(png(97, shade))
    return place


def test_a_folder_as_shards_is_the_same_data(photos, tmp_path):
    _, written = pack(photos, tmp_path / "shards", seed=4, shard_bytes=3000, options=OPTIONS)
    assert sum(split.samples for split in written.values()) == 26
    assert written["train"].shards > 2
    shards = open_data(tmp_path / "shards", OPTIONS, seed=0)
    folder = open_data(photos, OPTIONS, seed=4)
    assert shards.classes == folder.classes
    for name, split in folder.splits.items():
        by_digest = {digest: k for k, digest in enumerate(shards.splits[name].digests)}
        assert len(by_digest) == len(split)
        rows = [by_digest[digest] for digest in split.digests]
        np.testing.assert_array_equal(shards.splits[name].load(rows), split.load(range(len(split))))
        np.testing.assert_array_equal(shards.splits[name].labels[rows], split.labels)
    everything = [name for split in shards.splits.values() for name in split.ids]
    assert sum(name.endswith("dark/a_photo_3") for name in everything) == 1
    assert sum("light/more/1" in name for name in everything) == 2  # 1.jpg and 1.bmp
    labels = shards.splits["train"].labels[shards.splits["train"].places.shard == 0]
    assert set(labels) == {0, 1}, "a shard holds all classes"
    assert not list(tmp_path.glob(".*"))


def test_writing_twice_makes_the_same_bytes(photos, tmp_path):
    for out in ("one", "two"):
        pack(photos, tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_where_shards_cannot_be_written(photos, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="photos: is already there; choose a new folder"):
        pack(photos, photos)
    with pytest.raises(InputError, match="digits: expected a folder of pictures"):
        pack("digits", tmp_path / "out")
    (photos / "dark" / "cut.png").write_bytes(png(5)[:-30])
    with pytest.raises(InputError, match=r"1 of 27 files cannot be read as pictures .*cut\.png"):
        pack(photos, tmp_path / "out")
    (tmp_path / "file").write_text("")
    (photos / "dark" / "cut.png").unlink()
    with pytest.raises(StriateError, match="could not be written"):
        pack(photos, tmp_path / "file" / "out")
    monkeypatch.setattr(Path, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StriateError, match="no space left while writing"):
        pack(photos, tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name], "nothing half-written"
