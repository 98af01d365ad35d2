"""Splits of series: a folder for each class, or a table with a label and a series in each row."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.data._classmap import ClassMap, listed
from striate.data._dataset import ImageData, Progress, Unreadable
from striate.data._decode import ImageError, read_picture
from striate.data._exclusion import require_known
from striate.data._options import DataOptions
from striate.data._series import (
    DELIMITERS,
    SERIES_ENDINGS,
    Series,
    fitted,
    read_series,
    read_table,
    require_channels,
)
from striate.data._signals import SignalPreprocessing
from striate.data._splits import ArraySplit, ImageSplit, content_digest
from striate.data.sources.folder import divide, refusal
from striate.data.sources.layout import PARTS, entries, list_parts
from striate.data.sources.shard_index import PICTURES
from striate.errors import InputError

_PICTURES = frozenset(f".{ending}" for ending in PICTURES)
_PART = re.compile(r"(?:.*[-_.])?(train|val|test)", re.IGNORECASE)


def is_signals(where: str | Path) -> bool:
    """Whether `where` means series: a .csv or .tsv file, a folder of such and no pictures, or class folders of series.

    Of class folders the first that is not empty decides: whether it has more series than pictures.
    """
    path = Path(where)
    if path.is_file():
        return path.suffix.lower() in DELIMITERS
    if not path.is_dir():
        return False
    folders, files = entries(path)
    if not folders:
        endings = {Path(file).suffix.lower() for file in files}
        return not endings.isdisjoint(DELIMITERS) and endings.isdisjoint(_PICTURES)
    top = path / "train" if "train" in folders else path
    for label in entries(top)[0]:
        found = [file.suffix.lower() for file in _files_below(top / label)]
        if found:
            return sum(ending in SERIES_ENDINGS for ending in found) > sum(ending in _PICTURES for ending in found)
    return False


def open_signals(
    where: str | Path,
    options: DataOptions,
    *,
    seed: int,
    classes: ClassMap | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open series with train, val and test, given so or together; missing splits are made as for folders of pictures.

    The classes are those of the training part. What the options leave open (channels, length, mean and deviation) is
    read off the training split. All series stay in memory. Raises InputError for a layout, a class or (unless
    options.unreadable is "skip") a series that is wrong.
    """
    found = _read(where, options, None, progress)
    train = found.require_train()
    if classes is None:
        require_known(options.exclude, found.excluded, str(where))
    known = _classes(where, found.of(train))
    if classes is not None:
        classes.require_same(known, str(where))
    channels = options.channels or found.channels
    length = options.length or max(len(sample.series) for sample in found.of(train))
    preprocessing = SignalPreprocessing(channels, length, "stretch" if options.fit == "stretch" else "pad")
    splits: dict[str, ImageSplit] = {
        part or "train": _split(where, found.of(part), known, preprocessing, options) for part in found.parts
    }
    missing = [name for name in ("test", "val") if name not in splits]
    splits |= divide(splits["train"], missing, options, known, seed=seed, root=where)
    final = _standardized(preprocessing, options, splits["train"])
    ordered = {name: splits[name] for name in PARTS}
    return _data(where, known, final, ordered, found)


def open_signals_split(
    where: str | Path,
    options: DataOptions,
    preprocessing: SignalPreprocessing,
    classes: ClassMap,
    split: str,
    *,
    seed: int,
    trained_on: str | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open one split for a model with given classes; series that are not divided are that split as a whole.

    Unless they are the very data that the model was trained on, by its fingerprint: then the split is what was set
    aside.
    """
    found = _read(where, options, preprocessing.channels, progress)
    if "" not in found.parts and (
        split not in found.parts or (split == "train" and not {"val", "test"} <= set(found.parts))
    ):
        data = open_signals(where, options, seed=seed, classes=classes, progress=progress)  # divided as in training
        return _data(where, classes, preprocessing, {split: data.splits[split]}, found)
    part = split if split in found.parts else ""
    splits: dict[str, ImageSplit] = {split: _split(where, found.of(part), classes, preprocessing, options)}
    if trained_on is not None and not part:
        with suppress(InputError):  # too few to divide: not what a model was trained on
            whole = divide(splits[split], ["test", "val"], options, classes, seed=seed, root=where)
            if _data(where, classes, preprocessing, whole, found).fingerprint == trained_on:
                splits = {split: whole[split]}
    return _data(where, classes, preprocessing, splits, found)


class _Sample(NamedTuple):
    """A series that can be used."""

    part: str
    id: str
    label: str
    series: Series
    digest: bytes


@dataclass(frozen=True)
class _Found:
    """What was read: the samples, the parts in which they were given, and what was left out."""

    where: str
    samples: list[_Sample]
    parts: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    ignored: tuple[str, ...]
    excluded: tuple[str, ...]

    @property
    def channels(self) -> int:
        return int(self.samples[0].series.shape[1])

    def of(self, part: str) -> list[_Sample]:
        chosen = [sample for sample in self.samples if sample.part == part]
        if not chosen:
            raise InputError(f"{self.where}: no series {f'of {part} ' if part else ''}can be used")
        return chosen

    def require_train(self) -> str:
        if self.parts[0] not in {"", "train"}:
            raise InputError(f"{self.where}: expected series to train on, found only {' and '.join(self.parts)}")
        return self.parts[0]


_Item = tuple[str, str, str, Series | None, bytes, str]  # part, id, label, series, digest, fault


def _read(where: str | Path, options: DataOptions, channels: int | None, progress: Progress | None) -> _Found:
    """Read every series; raises InputError for those that cannot be used unless they are to be skipped."""
    root, exclude = Path(where), set(options.exclude)
    tables = _tables(root)
    items = _from_tables(root, tables, progress) if tables else _from_folders(root, exclude, progress)
    wanted = channels or options.channels or 0
    first, samples, unreadable, excluded = "", list[_Sample](), list[Unreadable](), list[str]()
    parts: dict[str, None] = {}
    for part, name, label, series, digest, fault in items:
        parts.setdefault(part)
        path = name if tables else str(root / name)
        if name in exclude:
            excluded.append(name)
            continue
        if series is None:
            unreadable.append(Unreadable(path, fault))
            continue
        if not wanted:
            wanted, first = series.shape[1], name
        try:
            require_channels(path, series, wanted, first)
            samples.append(_Sample(part, name, label, series, digest))
        except ImageError as error:
            unreadable.append(Unreadable(path, error.reason))
    if unreadable and options.unreadable == "error":
        raise refusal(where, unreadable, len(samples) + len(unreadable), "series cannot be used")
    if not samples:
        raise InputError(f"{where}: no series can be used")
    ignored = () if tables else tuple(path for listing in list_parts(root).values() for path in listing.ignored)
    order = tuple(part for part in ("", *PARTS) if part in parts)
    return _Found(str(where), samples, order, tuple(unreadable), ignored, tuple(excluded))


def _from_folders(root: Path, exclude: set[str], progress: Progress | None) -> Iterator[_Item]:
    parts = list_parts(root)
    total, done = sum(len(files) for listing in parts.values() for files in listing.files.values()), 0
    for part, listing in parts.items():
        for label, files in listing.files.items():
            for file in files:
                done += 1
                try:
                    data = b"" if file in exclude else read_picture(root / file)
                    series = None if file in exclude else read_series(root / file, data)
                    yield part, file, label, series, content_digest(data), ""
                except ImageError as error:
                    yield part, file, label, None, b"", error.reason
                if progress:
                    progress(done, total, "reading series")


def _tables(root: Path) -> dict[str, Path]:
    """Return the tables by part: a file, or those of a folder without class folders; none for class folders."""
    if root.is_file():
        if root.suffix.lower() not in DELIMITERS:
            raise InputError(f"{root}: a table of series is a .csv or .tsv file, a label and the values in each row")
        return {"": root}
    folders, files = entries(root)
    tables = [root / file for file in files if Path(file).suffix.lower() in DELIMITERS]
    if folders or not tables:
        return {}
    found: dict[str, Path] = {}
    for path in tables:
        match = _PART.fullmatch(path.stem)
        part = match[1].lower() if match else ""
        if part in found or (found and "" in {part, *found}):
            raise InputError(
                f"{root}: {next(iter(found.values())).name} and {path.name} do not fit together: expected one table, "
                "or tables whose names end in _TRAIN, _VAL and _TEST"
            )
        found[part] = path
    return {part: found[part] for part in ("", *PARTS) if part in found}


def _from_tables(root: Path, tables: dict[str, Path], progress: Progress | None) -> Iterator[_Item]:
    for part, path in tables.items():
        try:
            rows = read_table(path)
        except ImageError as error:
            raise InputError(str(error)) from error
        for done, row in enumerate(rows, 1):
            digest = b"" if row.series is None else content_digest(row.series.tobytes())
            yield part, f"{path.name}:{row.line}", row.label, row.series, digest, row.fault
            if progress:
                progress(done, len(rows), f"reading {path.name}")


def _classes(where: str | Path, samples: Sequence[_Sample]) -> ClassMap:
    """Return the labels to train on, sorted, whole numbers in their order."""
    labels = {sample.label for sample in samples}
    if len(labels) < 2:
        raise InputError(f"{where}: expected at least two classes, found only {next(iter(labels))!r}")
    numbers = all(re.fullmatch(r"[+-]?\d+", label) for label in labels)
    return ClassMap(sorted(labels, key=int) if numbers else sorted(labels))


def _split(
    where: str | Path,
    samples: Sequence[_Sample],
    classes: ClassMap,
    preprocessing: SignalPreprocessing,
    options: DataOptions,
) -> ArraySplit:
    """Return the series at their length; raises InputError for a label that is no class."""
    for sample in samples:
        if sample.label not in classes:
            raise InputError(
                f"{where}: {sample.id} has the label {sample.label!r}, which is no class that training knows "
                f"({listed(classes.names)}): correct or remove it"
            )
    images = preprocessing.blank(len(samples))
    for k, sample in enumerate(samples):
        images[k] = fitted(f"{where}: {sample.id}", sample.series, preprocessing)
    labels = [classes.index(sample.label) for sample in samples]
    return ArraySplit([sample.id for sample in samples], labels, images, [sample.digest for sample in samples])


def _standardized(preprocessing: SignalPreprocessing, options: DataOptions, train: ImageSplit) -> SignalPreprocessing:
    """Return the preprocessing with means and deviations as the options say: given, of the split, or of each series."""
    if options.standardize == "series":
        return SignalPreprocessing(preprocessing.channels, preprocessing.length, preprocessing.fit, "series")
    mean, std = options.mean, options.std
    if options.standardize == "training":
        values = train.load(np.arange(len(train))).astype(np.float64)
        mean = tuple(np.nanmean(values, axis=(0, 2)).tolist())
        deviations = np.nanstd(values, axis=(0, 2))
        std = tuple(np.where(deviations > 1e-12, deviations, 1.0).tolist())  # a channel that never changes
    return SignalPreprocessing(preprocessing.channels, preprocessing.length, preprocessing.fit, "given", mean, std)


def _data(
    where: str | Path,
    classes: ClassMap,
    preprocessing: SignalPreprocessing,
    splits: dict[str, ImageSplit],
    found: _Found,
) -> ImageData:
    return ImageData(str(where), classes, preprocessing, splits, found.unreadable, found.ignored, found.excluded)


def _files_below(folder: Path) -> Iterator[Path]:
    folders, files = entries(folder)
    yield from (folder / file for file in files)
    for name in folders:
        yield from _files_below(folder / name)
