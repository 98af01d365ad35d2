"""Splits from a folder of pictures with masks: each pair is read when it is opened, so no surprise comes later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from striate.data._classmap import ClassMap
from striate.data._dataset import ImageData, Progress, Unreadable
from striate.data._decode import ImageError, decode_image, own_size, read_picture
from striate.data._exclusion import require_known
from striate.data._masks import Colour, Masks, fit_mask, read_mask, usual_colour
from striate.data._options import DataOptions
from striate.data._preprocessing import Preprocessing
from striate.data._randomness import uniform
from striate.data._scenes import Loaded, Scene, SceneSplit
from striate.data._splits import ImageSplit, content_digest
from striate.data._threads import in_threads
from striate.data.sources.folder import MEMORY_LIMIT
from striate.data.sources.scene_layout import VOID_NAME, Pair, SceneListing, list_scenes, read_names
from striate.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class Meaning(NamedTuple):
    """What mask values mean to a model: the classes' names, and how they are stored."""

    classes: ClassMap
    masks: Masks


def open_scenes(
    root: Path,
    options: DataOptions,
    *,
    seed: int,
    classes: ClassMap | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Open `root` with pictures and masks, given as train, val and test or together (see `list_scenes`).

    The classes are those of labels.txt or classes.json, or the values in the training masks; void labels are
    `options.void` and what is named "void". Missing splits are made from the training pictures by hashing their
    contents with `seed`. Raises InputError for a layout, a class or (unless options.unreadable is "skip") a picture
    without a fitting mask.
    """
    listing = list_scenes(root)
    excluded = _exclude(root, listing, options)
    read = _read_masks(root, listing.pairs, progress)
    meaning = _meaning(root, options, read)
    if classes is not None:
        classes.require_same(meaning.classes, str(root))
    pools = _load(root, options, meaning, read, progress, memory_limit)
    splits = {part or "train": pool for part, pool in pools.splits.items()}
    missing = [name for name in ("test", "val") if name not in splits]
    splits |= _divide(splits["train"], missing, options, seed=seed, root=root)
    ordered: dict[str, ImageSplit] = {name: splits[name] for name in ("train", "val", "test")}
    data = _data(root, options, meaning, ordered, pools.unusable, listing.ignored)
    return replace(data, excluded=excluded)


def open_scenes_split(
    root: Path,
    options: DataOptions,
    meaning: Meaning,
    split: str,
    *,
    seed: int,
    trained_on: str | None = None,
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Open one split for a model with given classes; pictures that are not divided are that split as a whole.

    Unless they are the very data that the model was trained on, by its fingerprint: then the split is what was set
    aside. Masks must hold the model's labels only.
    """
    listing = list_scenes(root, only=split)
    excluded = _exclude(root, listing, replace(options, exclude=_there(listing, options)))
    parts = listing.pairs.keys()
    if "" not in parts and (split not in parts or (split == "train" and not {"val", "test"} <= parts)):
        data = open_scenes(
            root, options, seed=seed, classes=meaning.classes, progress=progress, memory_limit=memory_limit
        )  # divided as it was in training
        return replace(data, splits={split: data.splits[split]})
    part = split if split in parts else ""
    _require_names(root, meaning)
    pools = _load(
        root, options, meaning, _read_masks(root, {part: listing.pairs[part]}, progress), progress, memory_limit
    )
    pool = pools.splits[part]
    splits: dict[str, ImageSplit] = {split: pool}
    if trained_on is not None and not part and len(pool) > 2:
        whole: dict[str, ImageSplit] = {**_divide(pool, ["test", "val"], options, seed=seed, root=root)}
        if _data(root, options, meaning, whole, (), []).fingerprint == trained_on:
            splits = {split: whole[split]}
    return replace(_data(root, options, meaning, splits, pools.unusable, listing.ignored), excluded=excluded)


def _there(listing: SceneListing, options: DataOptions) -> tuple[str, ...]:
    files = {pair.picture for pairs in listing.pairs.values() for pair in pairs}
    return tuple(name for name in options.exclude if name in files)


def _exclude(root: Path, listing: SceneListing, options: DataOptions) -> tuple[str, ...]:
    """Take the pictures that the options leave out from the listing, and return them."""
    require_known(options.exclude, _there(listing, options), str(root))
    for part, pairs in listing.pairs.items():
        listing.pairs[part] = [pair for pair in pairs if pair.picture not in options.exclude]
    return options.exclude


def _data(
    root: Path,
    options: DataOptions,
    meaning: Meaning,
    splits: dict[str, ImageSplit],
    unusable: tuple[Unreadable, ...],
    ignored: Sequence[str],
) -> ImageData:
    # whole pictures are judged; windows of them (crop_to) are for training only
    whole = replace(options.preprocessing(), crop_to=None)
    return ImageData(str(root), meaning.classes, whole, splits, unusable, tuple(ignored), masks=meaning.masks)


class _Read(NamedTuple):
    """What was found in a mask file: how often each value, its size and palette, and the hash of its content."""

    pair: Pair
    mask: str
    counts: NDArray[np.int64]
    size: tuple[int, int]
    palette: tuple[Colour, ...] | None
    digest: bytes


_Parts = dict[str, list[_Read | Unreadable]]


def _read_masks(root: Path, parts: dict[str, list[Pair]], progress: Progress | None) -> _Parts:
    def examine(pair: Pair) -> _Read | Unreadable:
        if pair.mask is None:
            return Unreadable(str(root / pair.picture), f"it has no mask, expected {pair.expected}.png: add it")
        try:
            data = read_picture(root / pair.mask)
            stored = read_mask(data, name=str(root / pair.mask))
        except ImageError as error:
            return Unreadable(error.name, error.reason)
        counts = np.bincount(stored.values.reshape(-1), minlength=256).astype(np.int64)
        height, width = stored.values.shape
        return _Read(pair, pair.mask, counts, (height, width), stored.palette, content_digest(data))

    everything = [(part, pair) for part, pairs in parts.items() for pair in pairs]
    found: _Parts = {part: [] for part in parts}
    results = _in_threads(lambda item: examine(item[1]), everything, progress, "reading masks")
    for (part, _), result in zip(everything, results, strict=True):
        found[part].append(result)
    return found


def _meaning(root: Path, options: DataOptions, read: _Parts) -> Meaning:
    """Return the classes: those that have names, or the values of the training masks."""
    training = [result for result in next(iter(read.values())) if isinstance(result, _Read)]
    names = read_names(root)
    void = {options.void}
    if names is None:
        found = np.flatnonzero(sum((result.counts for result in training), np.zeros(256, np.int64)))
        names = {int(value): str(value) for value in found}
    else:
        void |= {value for value, name in names.items() if name.casefold() == VOID_NAME}
    values = tuple(sorted(value for value in names if value not in void))
    if len(values) < 2:
        raise InputError(
            f"{root}: expected masks of at least two classes, found {len(values)} besides the void label "
            f"{options.void} (data.void)"
        )
    palette = next((result.palette for result in training if result.palette), ())
    colours = tuple(palette[value] if value < len(palette) else usual_colour(value) for value in values)
    return Meaning(ClassMap([names[value] for value in values]), Masks(values, colours, tuple(sorted(void))))


def _require_names(root: Path, meaning: Meaning) -> None:
    """Raise InputError if the folder calls its labels otherwise than the model."""
    names = read_names(root)
    if names is None:
        return
    kept = {value: name for value, name in names.items() if value not in meaning.masks.void}
    meaning.classes.require_same(ClassMap([kept[value] for value in sorted(kept)]), str(root))


@dataclass(frozen=True)
class _Pools:
    splits: dict[str, SceneSplit]
    unusable: tuple[Unreadable, ...]


def _load(
    root: Path, options: DataOptions, meaning: Meaning, read: _Parts, progress: Progress | None, memory_limit: int
) -> _Pools:
    """Decode every picture once with its mask, and keep what fits into the memory limit."""
    preprocessing = options.preprocessing()
    total = sum(map(len, read.values()))
    height, width = preprocessing.size
    keep = total * (preprocessing.channels + 1) * height * width <= memory_limit
    splits: dict[str, SceneSplit] = {}
    unusable: list[Unreadable] = []
    for part, results in read.items():
        count = len(results) if keep else 0
        room = Loaded(
            np.zeros((count, preprocessing.channels, height, width), np.uint8),
            np.zeros((count, height, width), np.uint8),
        )
        checker = partial(_check, root, meaning, preprocessing, room if keep else None)
        checked = _in_threads(checker, list(enumerate(results)), progress, f"checking {part or 'the'} pictures")
        scenes = [scene for scene in checked if isinstance(scene, Scene)]
        unusable += [scene for scene in checked if isinstance(scene, Unreadable)]
        good = [k for k, scene in enumerate(checked) if isinstance(scene, Scene)]
        loaded = Loaded(room.images[good], room.masks[good]) if keep else None
        splits[part] = SceneSplit(root, scenes, meaning.masks, preprocessing, loaded)
    if unusable and options.unreadable == "error":
        raise _refusal(root, unusable, total)
    for part, split in splits.items():
        if not len(split):
            raise InputError(f"{root / part}: expected pictures with masks, none of the files there can be used")
    return _Pools(splits, tuple(unusable))


def _check(
    root: Path,
    meaning: Meaning,
    preprocessing: Preprocessing,
    room: Loaded | None,
    item: tuple[int, _Read | Unreadable],
) -> Scene | Unreadable:
    """Decode a picture and its mask into row k of `room`, or say why they cannot be used."""
    k, read = item
    if isinstance(read, Unreadable):
        return read
    try:
        data = _require_pair(root, read, meaning)
        image = decode_image(data, preprocessing, name=str(root / read.pair.picture))
        if room is not None:
            stored = read_mask(root / read.mask)
            room.images[k] = image
            room.masks[k] = fit_mask(meaning.masks.classes_of(stored.values), preprocessing)
    except ImageError as error:
        return Unreadable(error.name, error.reason)
    content = content_digest(data)
    pixels = tuple(int(read.counts[value]) for value in meaning.masks.values)
    return Scene(read.pair.picture, read.mask, content_digest(content + read.digest), content, pixels)


def _require_pair(root: Path, read: _Read, meaning: Meaning) -> bytes:
    """Return the picture's content; raises ImageError unless its size is the mask's and all labels are known."""
    mask = str(root / read.mask)
    known = {*meaning.masks.values, *meaning.masks.void}
    unknown = [int(value) for value in np.flatnonzero(read.counts) if value not in known]
    if unknown:
        raise ImageError(
            mask,
            f"the mask has the label {unknown[0]} ({read.counts[unknown[0]]:,} pixels), which is none of the "
            f"{len(meaning.classes)} classes and not the void label: correct the mask, name the label in labels.txt, "
            f"or set data.void={unknown[0]}",
        )
    path = root / read.pair.picture
    data = read_picture(path)
    height, width = own_size(data, str(path))
    if (height, width) != read.size:
        raise ImageError(
            mask,
            f"the mask is {read.size[1]} x {read.size[0]} pixels, its picture {path.name} {width} x {height}: they "
            "must have the same size",
        )
    return data


def _refusal(root: Path, unusable: Sequence[Unreadable], total: int, most: int = 3) -> InputError:
    first = "; ".join(f"{file.path}: {file.reason}" for file in unusable[:most])
    more = f"; and {len(unusable) - most} more" if len(unusable) > most else ""
    return InputError(
        f"{root}: {len(unusable)} of {total} pictures cannot be used with their masks ({first}{more}); to go on "
        "without them set data.unreadable=skip (--skip-unreadable when evaluating)"
    )


def _divide(
    split: SceneSplit, missing: Sequence[str], options: DataOptions, *, seed: int, root: Path
) -> dict[str, SceneSplit]:
    """Return the training split and the missing ones: where a picture goes depends on its content and the seed."""
    if not missing:
        return {}
    if len(split) <= len(missing):
        raise InputError(
            f"{root}: {len(split)} pictures are too few to set some aside for {' and '.join(missing)}: at least "
            f"{len(missing) + 1} are needed"
        )
    keys = np.frombuffer(b"".join(scene.content[:8] for scene in split.scenes), dtype="<u8").astype(np.uint64)
    scores = uniform(seed, 0, keys, "split")
    order = np.argsort(scores, kind="stable")
    shares = {"test": options.test_fraction, "val": options.val_fraction}
    chosen = np.full(len(split), "train", dtype="<U5")
    start, bound = 0, 0.0
    for k, part in enumerate(missing):
        bound += shares[part]
        end = max(int(np.searchsorted(scores[order], bound)), start + 1)  # at least one here, and in each that follows
        end = min(end, len(split) - len(missing) + k)
        chosen[order[start:end]] = part
        start = end
    return {part: split.subset(np.flatnonzero(chosen == part)) for part in ("train", *missing)}


def _in_threads(function: Callable[[T], R], items: Sequence[T], progress: Progress | None, what: str) -> list[R]:
    results: list[R] = []
    for result in in_threads(function, items):
        results.append(result)
        if progress:
            progress(len(results), len(items), what)
    return results
