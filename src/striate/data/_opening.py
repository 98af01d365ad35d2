"""One way in for data of every kind: a known set's name or a folder's path."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from striate.data._cache import Cache
from striate.data._catalog import KNOWN, KnownSet
from striate.data._classmap import ClassMap
from striate.data._dataset import ImageData, Progress
from striate.data._masks import Masks
from striate.data._options import DataOptions
from striate.data._preprocessing import Preparation
from striate.data._randomness import uniform
from striate.data._shard_store import is_url
from striate.data._signals import SignalPreprocessing
from striate.data._splits import ImageSplit, stratified
from striate.data.sources.cifar import TRAIN, read_cifar10
from striate.data.sources.digits import read_digits
from striate.data.sources.folder import MEMORY_LIMIT, open_folder, open_folder_split
from striate.data.sources.idx import read_mnist
from striate.data.sources.scene_layout import is_scenes
from striate.data.sources.scenes import Meaning, open_scenes, open_scenes_split
from striate.data.sources.shard_files import is_shards
from striate.data.sources.shards import open_shards, open_shards_split
from striate.data.sources.signals import is_signals, open_signals, open_signals_split
from striate.errors import InputError, did_you_mean


def open_data(
    where: str | Path,
    options: DataOptions,
    *,
    seed: int,
    data_root: Path | None = None,
    classes: ClassMap | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
    cache: Cache | None = None,
) -> ImageData:
    """Open a known set ("digits", "mnist", ...), a folder of images, shards, or series, with its three splits.

    Known sets come from `data_root`, or without it from the user's cache folder, downloaded at first; a folder that is
    named like one is meant by "./name". `seed` and the options alone decide which images are set aside for validation
    (and for testing, where the source has no test split). With `classes` the data must have just these.
    With a `cache` the pictures of a folder are decoded once and read from there from then on: the same bytes.
    Raises InputError, in one sentence, for whatever is wrong with the data.
    """
    known = KNOWN.get(where) if isinstance(where, str) else None
    _require_kind(where, options)
    if cache is not None:
        _require_cacheable(where, options)
    if options.kind == "signals":
        return open_signals(where, options, seed=seed, classes=classes, progress=progress)
    if known is None and is_shards(where):
        _require_labels(where, options)
        return open_shards(where, options, seed=seed, classes=classes, progress=progress)
    if known is None:
        root = _existing_folder(where)
        if options.task == "classification" and is_scenes(root):
            raise InputError(
                f"{root}: has pictures with masks, not a folder for each class: open it with the option "
                "data.task=segmentation (--task segmentation)"
            )
        if options.task == "segmentation":
            return open_scenes(root, options, seed=seed, classes=classes, progress=progress, memory_limit=memory_limit)
        return open_folder(
            root, options, seed=seed, classes=classes, progress=progress, memory_limit=memory_limit, cache=cache
        )
    if options.task == "segmentation":
        raise InputError(f"{known.name} has a label per picture and no masks: segmentation needs a folder with masks")
    if options.exclude:
        raise InputError(f"data.exclude names files of a folder; {known.name} is a known set and is taken whole")
    found = ClassMap(known.classes)
    if classes is not None:
        classes.require_same(found, known.name)
    splits = _READERS[known.name](known, options, seed, data_root, progress)
    return ImageData(known.name, found, options.preprocessing(), splits)


def holds_scenes(where: str | Path) -> bool:
    """Whether data are a folder that obviously has pictures with masks, and none for each class."""
    return not (isinstance(where, str) and where in KNOWN) and Path(where).is_dir() and is_scenes(Path(where))


def open_for_evaluation(
    where: str | Path,
    preprocessing: Preparation,
    classes: ClassMap,
    *,
    split: str = "test",
    seed: int = 0,
    options: DataOptions | None = None,
    trained_on: str | None = None,
    data_root: Path | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
    masks: Masks | None = None,
) -> ImageData:
    """Open one split ("train", "val" or "test") as a finished model with these classes and preprocessing needs it.

    A folder with class folders alone is taken whole, every image of it, under the name of `split`, unless `trained_on`
    is its fingerprint: then no image that the model has learned from is among them. One with train/, val/ or test/
    gives just that part. Where the split was set aside at training, `seed` and `options` (its fractions)
    must be those of the training. `options.unreadable` is followed, and of `options.exclude` what is there is left out;
    all else in `options` is overruled.
    For segmentation `masks` says how the model's classes are stored.
    A class folder that the model does not know is an InputError; classes without images are listed by `.absent(split)`.
    """
    if split not in {"train", "val", "test"}:
        raise InputError(f"split must be 'train', 'val' or 'test', got {split!r}")
    options = (options or DataOptions()).like(preprocessing)
    options = replace(options, task="classification" if masks is None else "segmentation")
    _require_kind(where, options)
    if isinstance(preprocessing, SignalPreprocessing):
        return open_signals_split(
            where, options, preprocessing, classes, split, seed=seed, trained_on=trained_on, progress=progress
        )
    if isinstance(where, str) and where in KNOWN:
        data = open_data(where, options, seed=seed, data_root=data_root, classes=classes, progress=progress)
        return ImageData(data.name, classes, preprocessing, {split: data.splits[split]})
    if is_shards(where):
        _require_labels(where, options)
        return open_shards_split(where, options, classes, split, seed=seed, trained_on=trained_on, progress=progress)
    root = _existing_folder(where)
    if masks is not None:
        return open_scenes_split(
            root,
            options,
            Meaning(classes, masks),
            split,
            seed=seed,
            trained_on=trained_on,
            progress=progress,
            memory_limit=memory_limit,
        )
    return open_folder_split(
        root,
        options,
        classes,
        split,
        seed=seed,
        trained_on=trained_on,
        progress=progress,
        memory_limit=memory_limit,
    )


def lasting(where: str | Path) -> str:
    """Return a known set's name or an address as it is, a path as an absolute one: what means the same tomorrow."""
    return str(where) if where in KNOWN or is_url(str(where)) else str(Path(where).resolve())


def _require_kind(where: str | Path, options: DataOptions) -> None:
    """Raise InputError for series where pictures are asked for, and the reverse."""
    known = isinstance(where, str) and where in KNOWN
    if options.kind == "pictures" and not known and is_signals(where):
        raise InputError(
            f"{where}: has series (.csv, .tsv, .npy), not pictures: train with --recipe signals, or another with "
            "data.kind=signals"
        )
    if options.kind == "signals" and not (known or Path(where).exists()):
        raise InputError(f"no such folder or table of series: {where}")
    if options.kind == "signals" and not is_signals(where):
        raise InputError(
            f"{where}: expected series, a folder for each class with .csv, .tsv or .npy files or a table .csv or .tsv, "
            "found something else"
        )


def _require_labels(where: str | Path, options: DataOptions) -> None:
    if options.task == "segmentation":
        raise InputError(
            f"{where}: shards have a label per picture and no masks: segmentation needs a folder with masks"
        )


def _require_cacheable(where: str | Path, options: DataOptions) -> None:
    """Raise InputError unless the data are what a cache keeps."""
    if where in KNOWN:
        why = "is in memory anyway"
    elif options.kind == "signals":
        why = "has series of numbers"
    elif is_shards(where):
        why = "is shards"
    elif options.task == "segmentation":
        why = "has masks"
    else:
        return
    raise InputError(f"a cache keeps the pictures of a folder with a label each; {where} {why}: leave the cache out")


def _existing_folder(where: str | Path) -> Path:
    path = Path(where)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{where} is a file: expected a folder of images, or one of {', '.join(KNOWN)}")
    if isinstance(where, Path) or os.sep in where:
        raise InputError(f"no such folder: {where}")
    raise InputError(f"no known data set and no folder {where!r}{did_you_mean(where, KNOWN)}")


def _digits(
    known: KnownSet, options: DataOptions, seed: int, data_root: Path | None, progress: Progress | None
) -> dict[str, ImageSplit]:
    whole = read_digits(options.preprocessing())
    rest, test = _set_aside(whole, options.test_fraction, seed, "test")
    train, val = _set_aside(rest, options.val_fraction / (1 - options.test_fraction), seed, "val")
    return {"train": train, "val": val, "test": test}


def _mnist_like(
    known: KnownSet, options: DataOptions, seed: int, data_root: Path | None, progress: Progress | None
) -> dict[str, ImageSplit]:
    files = _files(known, data_root, progress)
    preprocessing = options.preprocessing()
    given = read_mnist(files[0], files[1], "train", len(known.classes), preprocessing)
    test = read_mnist(files[2], files[3], "test", len(known.classes), preprocessing)
    train, val = _set_aside(given, options.val_fraction, seed, "val")
    return {"train": train, "val": val, "test": test}


def _cifar10(
    known: KnownSet, options: DataOptions, seed: int, data_root: Path | None, progress: Progress | None
) -> dict[str, ImageSplit]:
    places = [data_root, *(data_root / name for name in known.folders)] if data_root else []
    unpacked = [place for place in places if (place / TRAIN[0]).is_file()]
    place = unpacked[0] if unpacked else _files(known, data_root, progress)[0]
    given, test = read_cifar10(place, options.preprocessing())
    train, val = _set_aside(given, options.val_fraction, seed, "val")
    return {"train": train, "val": val, "test": test}


def _files(known: KnownSet, data_root: Path | None, progress: Progress | None) -> list[Path]:
    from striate.data._download import locate  # brings the network libraries, which folders do not need

    return locate(known, data_root, progress=progress)


def _set_aside(split: ImageSplit, fraction: float, seed: int, name: str) -> tuple[ImageSplit, ImageSplit]:
    """Divide a split into what remains and what is set aside, class by class."""
    chosen = stratified(split.labels, uniform(seed, 0, split.keys, f"split/{name}"), fraction)
    return split.subset(np.flatnonzero(~chosen)), split.subset(np.flatnonzero(chosen))


_Reader = Callable[[KnownSet, DataOptions, int, Path | None, Progress | None], dict[str, ImageSplit]]
_READERS: dict[str, _Reader] = {
    "digits": _digits,
    "mnist": _mnist_like,
    "fashion-mnist": _mnist_like,
    "cifar10": _cifar10,
}
