"""Splits from shards: tar files with KEY.jpg and KEY.cls, one sample after the other."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.data._classmap import ClassMap, listed
from striate.data._dataset import ImageData, Progress, Unreadable
from striate.data._exclusion import require_known
from striate.data._options import DataOptions
from striate.data._shards import Places, ShardSplit
from striate.data._splits import ImageSplit
from striate.data.sources.folder import divide, refusal
from striate.data.sources.shard_files import Shards, find_shards
from striate.data.sources.shard_index import Index, index_shards
from striate.errors import InputError

NAME_FILES = ("classes.txt", "classes.json")


def open_shards(
    where: str | Path,
    options: DataOptions,
    *,
    seed: int,
    classes: ClassMap | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open the shards that `where` means (see `find_shards`), with val and test or without.

    The classes are those of classes.txt or classes.json beside the shards, in whose order numbers mean them, or else
    the labels of the training shards. Missing splits are made from the training samples by hashing their contents with
    `seed`, as for folders. Raises InputError for a shard, a class or (unless options.unreadable is "skip") a sample
    that is wrong.
    """
    found = find_shards(where)
    train = next(iter(found.parts))
    if train not in {"", "train"}:
        raise InputError(f"{where}: expected shards to train on, found only those of {' and '.join(found.parts)}")
    pool = _read(found, list(found.parts), options, classes, progress, require_excluded=classes is None)
    if classes is not None:
        classes.require_same(pool.classes, str(where))
    if len(pool.classes) < 2:
        raise InputError(f"{where}: expected at least two classes, found only {pool.classes.names[0]!r}")
    splits: dict[str, ImageSplit] = {part or "train": split for part, split in pool.splits.items()}
    missing = [name for name in ("test", "val") if name not in splits]
    splits |= divide(splits["train"], missing, options, pool.classes, seed=seed, root=where)
    return _data(found, options, pool, {name: splits[name] for name in ("train", "val", "test")})


def open_shards_split(
    where: str | Path,
    options: DataOptions,
    classes: ClassMap,
    split: str,
    *,
    seed: int,
    trained_on: str | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open one split for a model with given classes; shards that name no split are that split as a whole.

    Unless they are the very data that the model was trained on, by its fingerprint: then the split is what was set
    aside.
    """
    found = find_shards(where)
    if "" not in found.parts and (
        split not in found.parts or (split == "train" and not {"val", "test"} <= found.parts.keys())
    ):
        data = open_shards(where, options, seed=seed, classes=classes, progress=progress)  # divided as in training
        return ImageData(
            data.name,
            classes,
            data.preprocessing,
            {split: data.splits[split]},
            data.unreadable,
            data.ignored,
            data.excluded,
        )
    part = split if split in found.parts else ""
    pool = _read(found, [part], options, classes, progress, require_excluded=False)
    splits: dict[str, ImageSplit] = {split: pool.splits[part]}
    if trained_on is not None and not part:
        with suppress(InputError):  # too few samples to divide: not what a model was trained on
            whole = divide(pool.splits[part], ["test", "val"], options, classes, seed=seed, root=where)
            if _data(found, options, pool, whole).fingerprint == trained_on:
                splits = {split: whole[split]}
    return _data(found, options, pool, splits)


@dataclass(frozen=True)
class _Pool:
    """The samples that can be used, by part, their classes, and those that were left out."""

    classes: ClassMap
    splits: dict[str, ShardSplit]
    unusable: tuple[Unreadable, ...]
    ignored: tuple[str, ...]
    excluded: tuple[str, ...]


def _data(found: Shards, options: DataOptions, pool: _Pool, splits: dict[str, ImageSplit]) -> ImageData:
    return ImageData(
        found.where, pool.classes, options.preprocessing(), splits, pool.unusable, pool.ignored, pool.excluded
    )


def _read(
    found: Shards,
    parts: Sequence[str],
    options: DataOptions,
    classes: ClassMap | None,
    progress: Progress | None,
    *,
    require_excluded: bool,
) -> _Pool:
    names = [(part, name) for part in parts for name in found.parts[part]]
    indices = index_shards(found.store, [name for _, name in names], options.preprocessing(), progress)
    rows, unusable, excluded, seen = _rows(found, names, indices, set(options.exclude))
    if require_excluded:
        require_known(options.exclude, excluded, found.where)
    if unusable and options.unreadable == "error":
        raise refusal(found.where, unusable, len(rows) + len(unusable), "samples cannot be used")
    known = _names_of(found, parts)
    meaning = classes or _meaning(found, known, [row for row in rows if row.part == parts[0]])
    if known is not None:
        meaning.require_same(ClassMap(known), found.where)
    splits = {part: _split(found, options, meaning, known, [r for r in rows if r.part == part]) for part in parts}
    for part, split in splits.items():
        if not len(split):
            raise InputError(f"{found.where}: no sample {f'of {part} ' if part else ''}can be used")
    return _Pool(meaning, splits, tuple(unusable), (*found.ignored, *seen), tuple(excluded))


class _Row(NamedTuple):
    """A sample that can be used."""

    part: str
    id: str
    shard: str
    start: int
    size: int
    digest: bytes
    labels: list[str]


def _rows(
    found: Shards, names: Sequence[tuple[str, str]], indices: Sequence[Index], exclude: set[str]
) -> tuple[list[_Row], list[Unreadable], list[str], list[str]]:
    """Return the samples, those that cannot be used, the ids of those that are excluded, and what is no sample."""
    rows: list[_Row] = []
    unusable: list[Unreadable] = []
    excluded: list[str] = []
    ignored: list[str] = []
    for (part, shard), index in zip(names, indices, strict=True):
        ignored += [f"{shard}/{name}" for name in index.ignored]
        for entry in index.samples:
            name = f"{shard}/{entry.key}"
            if name in exclude:
                excluded.append(name)
            elif entry.fault is not None:
                unusable.append(Unreadable(found.store.path(name), entry.fault))
            else:
                digest = bytes.fromhex(entry.digest)
                rows.append(_Row(part, name, shard, entry.start, entry.size, digest, entry.labels))
    return rows, unusable, excluded, ignored


def _split(
    found: Shards, options: DataOptions, meaning: ClassMap, known: Sequence[str] | None, rows: Sequence[_Row]
) -> ShardSplit:
    shards = list(dict.fromkeys(row.shard for row in rows))
    number = {shard: k for k, shard in enumerate(shards)}
    places = Places(
        np.asarray([number[row.shard] for row in rows], np.int64),
        np.asarray([row.start for row in rows], np.int64),
        np.asarray([row.size for row in rows], np.int64),
    )
    classes = {name: k for k, name in enumerate(meaning)}
    labels = [classes[_class_of(found, row, known, classes)] for row in rows]
    ids, digests = [row.id for row in rows], [row.digest for row in rows]
    return ShardSplit(found.store, shards, ids, labels, places, options.preprocessing(), digests)


def _class_of(found: Shards, row: _Row, known: Sequence[str] | None, classes: dict[str, int]) -> str:
    """Return the class that a sample's labels mean; raises InputError for none, and for two."""
    where = found.store.path(row.id)
    names = [known[int(x)] if known and x.isdecimal() and int(x) < len(known) else x for x in row.labels]
    if len(set(names)) > 1:
        raise InputError(
            f"{where}: has two labels, {names[0]!r} and {names[1]!r} (.cls and .json): correct one of them"
        )
    if names[0] not in classes:
        file = "" if known else "; where numbers mean classes, put their names into classes.txt beside the shards"
        raise InputError(
            f"{where}: its label {row.labels[0]!r} is no class that training knows ({listed(list(classes))}): correct "
            f"it{file}"
        )
    return names[0]


def _meaning(found: Shards, known: Sequence[str] | None, rows: Sequence[_Row]) -> ClassMap:
    """Return the classes: those that have names in a file, or the labels to train on, numbers in their order."""
    if known is not None:
        return ClassMap(known)
    labels = {label for row in rows for label in row.labels[:1]}
    if not labels:
        raise InputError(f"{found.where}: no sample to train on can be used")
    return ClassMap(sorted(labels, key=int) if all(label.isdecimal() for label in labels) else sorted(labels))


def _names_of(found: Shards, parts: Sequence[str]) -> list[str] | None:
    """Return the names in classes.txt or classes.json beside the shards; None without. InputError if two differ."""
    folders = {name.rpartition("/")[0] for part in parts for name in found.parts[part]}
    first: tuple[str, list[str]] | None = None
    for folder in ["", *sorted(folders - {""})]:
        for file in NAME_FILES:
            place = f"{folder}/{file}" if folder else file
            text = found.store.text(place)
            if text is None:
                continue
            names = _parsed(found.store.path(place), text)
            if first is None:
                first = (place, names)
            elif names != first[1]:
                ClassMap(first[1]).require_same(ClassMap(names), f"{found.store.path(place)} (expected: {first[0]})")
    return None if first is None else first[1]


def _parsed(path: str, text: str) -> list[str]:
    try:
        given = json.loads(text) if path.endswith(".json") else [line.strip() for line in text.splitlines()]
        while not path.endswith(".json") and given and not given[-1]:
            given.pop()
        return list(ClassMap(given))
    except ValueError as error:
        raise InputError(
            f"{path}: expected the names of the classes in their order, one a line or as a JSON list ({error})"
        ) from error
