"""Splits from a folder of images: every file is decoded once when it is opened, so that no surprise comes later."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.data._cache import Cache
from striate.data._classmap import ClassMap, listed
from striate.data._dataset import ImageData, Progress, Unreadable
from striate.data._decode import ImageError, decode_image, read_picture
from striate.data._exclusion import require_known
from striate.data._options import DataOptions
from striate.data._preprocessing import Preprocessing
from striate.data._randomness import uniform
from striate.data._splits import ArraySplit, FolderSplit, ImageSplit, Kept, content_digest
from striate.data._threads import in_threads
from striate.data.sources.layout import Listing, entries, list_classes, list_parts
from striate.errors import InputError

MEMORY_LIMIT = 1 << 30  # bytes of decoded images; opening a folder may take twice as much for a moment


def open_folder(
    root: Path,
    options: DataOptions,
    *,
    seed: int,
    classes: ClassMap | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
    cache: Cache | None = None,
) -> ImageData:
    """Open `root` with train/, val/ and test/ (the last two may be missing) or with class folders alone.

    The classes are the sorted folder names of the training split. Missing splits are made from the training images by
    hashing their contents with `seed`: where a picture goes depends on nothing else, so adding or renaming files moves
    no other one, and copies of a picture stay together (only a class that would get no image in a split gives one up).
    Decoded images stay in memory where all fit into `memory_limit` bytes; else they are decoded when they are needed.
    With a `cache` they are read from there, whatever their number, and only what is new or changed is decoded.
    Raises InputError for a layout, a class or (unless options.unreadable is "skip") a file that is wrong.
    """
    parts = list_parts(root)
    excluded = _leave_out(root, parts, options.exclude)
    if classes is None:  # a run that is resumed does not miss what it left out
        require_known(options.exclude, excluded, str(root))
    train = next(iter(parts))
    found = ClassMap(list(parts[train].files))
    if len(found) < 2:
        raise InputError(f"{root / train}: expected at least two class folders, found only {found.names[0]!r}")
    if classes is not None:
        classes.require_same(found, str(root))
    pool = _read(root, parts, found, options, progress=progress, memory_limit=memory_limit, cache=cache)
    splits = {part or "train": pool.part(part) for part in parts}
    _require_images(root / train, splits["train"], found)
    missing = [name for name in ("test", "val") if name not in splits]
    splits |= divide(splits["train"], missing, options, found, seed=seed, root=root)
    ignored = tuple(path for listing in parts.values() for path in listing.ignored)
    ordered = {name: splits[name] for name in ("train", "val", "test")}
    return ImageData(str(root), found, options.preprocessing(), ordered, pool.unreadable, ignored, excluded=excluded)


def open_folder_split(
    root: Path,
    options: DataOptions,
    classes: ClassMap,
    split: str,
    *,
    seed: int,
    trained_on: str | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Open one split for a model with given classes; a folder that has class folders alone is that split as a whole.

    Unless it is the very data that the model was trained on, by its fingerprint: then the split is what was set aside.
    Classes may be absent; a folder that is no class of the model is an InputError. Of the files that the training left
    out those that are here are left out, too.
    """
    options = replace(options, exclude=tuple(name for name in options.exclude if os.path.lexists(root / name)))
    folders, _ = entries(root)
    if split in folders and (split != "train" or {"val", "test"} <= set(folders)):
        parts = {split: list_classes(root, split)}
    elif "train" in folders:
        data = open_folder(root, options, seed=seed, classes=classes, progress=progress, memory_limit=memory_limit)
        return ImageData(
            data.name,
            classes,
            data.preprocessing,
            {split: data.splits[split]},
            data.unreadable,
            data.ignored,
            excluded=data.excluded,
        )
    else:
        parts = list_parts(root)
    excluded = _leave_out(root, parts, options.exclude)
    (part, listing), *_ = parts.items()
    pool = _read(root, parts, classes, options, progress=progress, memory_limit=memory_limit)
    if not len(pool.images):
        raise InputError(f"{root / part}: expected images, none of the files there can be read")
    splits = {split: pool.images}
    if trained_on is not None and "" in parts:
        with suppress(InputError):  # too few images to divide: not what a model was trained on
            whole = {"train": pool.images}
            whole |= divide(pool.images, ["test", "val"], options, classes, seed=seed, root=root)
            if ImageData(str(root), classes, options.preprocessing(), whole).fingerprint == trained_on:
                splits = {split: whole[split]}
    return ImageData(
        str(root), classes, options.preprocessing(), splits, pool.unreadable, tuple(listing.ignored), excluded=excluded
    )


@dataclass(frozen=True)
class _Pool:
    """All readable images of a folder, the part that each belongs to, and the files that are not readable."""

    images: ImageSplit
    parts: NDArray[np.str_]
    unreadable: tuple[Unreadable, ...]

    def part(self, name: str) -> ImageSplit:
        return self.images if (self.parts == name).all() else self.images.subset(np.flatnonzero(self.parts == name))


def _read(
    root: Path,
    parts: dict[str, Listing],
    classes: ClassMap,
    options: DataOptions,
    *,
    progress: Progress | None,
    memory_limit: int,
    cache: Cache | None = None,
) -> _Pool:
    """Label every file by its folder, and decode it."""
    ids, labels, of_part = _label(root, parts, classes)
    preprocessing = options.preprocessing()
    if cache is None:
        checked = _check([root / name for name in ids], preprocessing, progress, memory_limit)
    else:
        opened = cache.open(root, ids, preprocessing, progress)
        checked = _Checked(opened.results, None, opened.kept)
    good = np.flatnonzero([not isinstance(result, str) for result in checked.results])
    unreadable = tuple(
        Unreadable(str(root / name), result)
        for name, result in zip(ids, checked.results, strict=True)
        if isinstance(result, str)
    )
    if unreadable and options.unreadable == "error":
        raise refusal(root, unreadable, len(ids))
    kept_ids, kept_labels = [ids[k] for k in good], labels[good]
    digests = [result for result in checked.results if isinstance(result, bytes)]
    images: ImageSplit
    if checked.images is None:
        kept = checked.kept and replace(checked.kept, rows=checked.kept.rows[good])
        images = FolderSplit(root, kept_ids, kept_labels, preprocessing, digests, kept)
    else:
        values = checked.images if len(good) == len(ids) else checked.images[good]
        images = ArraySplit(kept_ids, kept_labels, values, digests)
    return _Pool(images, of_part[good], unreadable)


def _leave_out(root: Path, parts: dict[str, Listing], names: Sequence[str]) -> tuple[str, ...]:
    """Take files out of the listings, and return those that were there.

    Raises InputError if nothing is left, or nothing of a class to train on.
    """
    wanted, found = set(names), []
    for part, listing in parts.items():
        for label, files in listing.files.items():
            found += [file for file in files if file in wanted]
            listing.files[label] = [file for file in files if file not in wanted]
            if not listing.files[label] and part in {"", "train"}:
                raise InputError(f"{root / part}: all files of class {label!r} are excluded: keep some, or remove it")
    if not any(files for listing in parts.values() for files in listing.files.values()):
        raise InputError(f"{root}: all files are excluded: keep some")
    return tuple(found)


def _label(
    root: Path, parts: dict[str, Listing], classes: ClassMap
) -> tuple[list[str], NDArray[np.int64], NDArray[np.str_]]:
    """Return the id, label and part of every file."""
    rows: list[tuple[str, int, str]] = []
    for part, listing in parts.items():
        unknown = [name for name in listing.files if name not in classes]
        if unknown:
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            raise InputError(
                f"{root / part}: the folder {unknown[0]!r}{more} is no class that training knows "
                f"({listed(classes.names)}): rename or remove it"
            )
        for name, files in listing.files.items():
            label = classes.index(name)
            rows += [(file, label, part) for file in files]
    ids, labels, of_part = zip(*rows, strict=True)
    return list(ids), np.asarray(labels, np.int64), np.asarray(of_part)


@dataclass(frozen=True)
class _Checked:
    """Per file the hash of its content, or why it cannot be decoded; and decoded images, in memory or in a cache."""

    results: list[bytes | str]
    images: NDArray[np.uint8] | None
    kept: Kept | None = None


def _check(
    paths: Sequence[Path], preprocessing: Preprocessing, progress: Progress | None, memory_limit: int
) -> _Checked:
    """Decode every file once, with threads."""
    shape = (len(paths), preprocessing.channels, *preprocessing.size)
    images = np.zeros(shape, np.uint8) if int(np.prod(shape, dtype=object)) <= memory_limit else None

    def examine(k: int) -> bytes | str:
        try:
            data = read_picture(paths[k])
            image = decode_image(data, preprocessing)
        except ImageError as error:
            return error.reason
        if images is not None:
            images[k] = image
        return content_digest(data)

    results: list[bytes | str] = []
    for result in in_threads(examine, range(len(paths))):
        results.append(result)
        if progress:
            progress(len(results), len(paths), "checking images")
    return _Checked(results, images)


def refusal(
    root: str | Path,
    unreadable: Sequence[Unreadable],
    total: int,
    what: str = "files cannot be read as pictures",
    most: int = 3,
) -> InputError:
    """Return the error that names the first of what cannot be used and says how to go on without."""
    first = "; ".join(f"{file.path}: {file.reason}" for file in unreadable[:most])
    more = f"; and {len(unreadable) - most} more" if len(unreadable) > most else ""
    return InputError(
        f"{root}: {len(unreadable)} of {total} {what} ({first}{more}); to go on without them "
        "set data.unreadable=skip (--skip-unreadable when evaluating)"
    )


def _require_images(place: Path, split: ImageSplit, classes: ClassMap) -> None:
    for label, count in enumerate(np.bincount(split.labels, minlength=len(classes))):
        if not count:
            raise InputError(
                f"{place}: no file of class {classes.names[label]!r} can be read: repair or remove the class"
            )


def divide(
    split: ImageSplit, missing: Sequence[str], options: DataOptions, classes: ClassMap, *, seed: int, root: str | Path
) -> dict[str, ImageSplit]:
    """Return the training split and the missing ones, all made from what was given for training.

    Where a sample goes depends on its content's hash and the seed. Raises InputError for a class too small to divide.
    """
    if not missing:
        return {}
    keys = np.frombuffer(b"".join(digest[:8] for digest in split.digests), dtype="<u8").astype(np.uint64)
    scores = uniform(seed, 0, keys, "split")
    shares = {"test": options.test_fraction, "val": options.val_fraction}
    chosen = np.full(len(split), "train", dtype="<U5")
    for label, name in enumerate(classes):
        members = np.flatnonzero(split.labels == label)
        if 0 < len(members) <= len(missing):
            raise InputError(
                f"{root}: class {name!r} has {len(members)} images, too few to set some aside for "
                f"{' and '.join(missing)}: at least {len(missing) + 1} are needed"
            )
        members = members[np.argsort(scores[members], kind="stable")]
        start, bound = 0, 0.0
        for k, part in enumerate(missing):
            bound += shares[part]
            end = int(np.searchsorted(scores[members], bound))
            end = min(
                max(end, start + 1), len(members) - len(missing) + k
            )  # at least one here, and in each that follows
            chosen[members[start:end]] = part
            start = end
    return {part: split.subset(np.flatnonzero(chosen == part)) for part in ("train", *missing)}
