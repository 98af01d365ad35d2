"""What a folder of pictures with masks holds: which mask belongs to which picture, and what the labels are called."""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from striate.data._classmap import listed
from striate.data._options import DataOptions
from striate.data.sources.layout import PARTS, Listing, entries, walk
from striate.errors import InputError

IMAGES, MASKS, ANNOTATIONS = "images", "masks", "annot"
NAME_FILES = ("labels.txt", "classes.json")
VOID_NAME = "void"
_LAYOUTS = (
    "expected images/ and masks/, or these two in train/ (and val/, test/), or train/ and trainannot/ (and val/, "
    "valannot/, test/, testannot/)"
)


class Pair(NamedTuple):
    """A picture and its mask, paths under the root; None: there is no such mask."""

    picture: str
    mask: str | None
    expected: str  # where the mask was looked for, without its ending


@dataclass
class SceneListing:
    """The pairs of each part, in sorted order, and what was passed over."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def is_scenes(root: Path) -> bool:
    """Whether a folder looks like pictures with masks."""
    folders = set(entries(root)[0])
    if "train" in folders:
        return f"train{ANNOTATIONS}" in folders or set(entries(root / "train")[0]) == {IMAGES, MASKS}
    return folders == {IMAGES, MASKS}


def list_scenes(root: Path, only: str | None = None) -> SceneListing:
    """Return the pairs of train, val and test, or those of the root as the part "".

    Without a folder train, the part `only` alone will do. Raises InputError for a folder that has no such layout.
    """
    top = Listing()
    folders, files = entries(root, top)
    listing = SceneListing(ignored=[*top.ignored, *(name for name in files if name not in NAME_FILES)])
    if "train" not in folders and {IMAGES, MASKS} <= set(folders):
        listing.ignored += [name for name in folders if name not in {IMAGES, MASKS}]
        listing.pairs[""] = _pairs(root, IMAGES, MASKS, listing)
        return listing
    parts = [part for part in PARTS if part in folders]
    if "train" not in folders and only in parts:
        parts = [only]
    elif "train" not in folders:
        raise InputError(
            f"{root}: {_LAYOUTS}, found {listed(folders) if folders else 'no folders'}; a folder of pictures for each "
            "class is for --task classification"
        )
    for part in parts:
        listing.pairs[part] = _pairs(root, *_places(root, part, folders), listing)
    known = {*PARTS, *(part + ANNOTATIONS for part in PARTS)}
    if strange := [name for name in folders if name not in known]:
        raise InputError(f"{root}: {_LAYOUTS}, found also the folder {strange[0]!r}: rename it or move it away")
    return listing


def count_scenes(root: Path, options: DataOptions) -> int:
    """Return about how many pictures of a folder would be trained on; none is opened.

    Raises InputError as `list_scenes` does.
    """
    pairs = list_scenes(root).pairs
    aside = {"val": options.val_fraction, "test": options.test_fraction}
    return round(
        len(next(iter(pairs.values()))) * (1 - sum(share for part, share in aside.items() if part not in pairs))
    )


def read_names(root: Path) -> dict[int, str] | None:
    """Return what the labels are called, from labels.txt (line k names label k) or classes.json; None without either.

    classes.json is a list of names, or an object from labels to names. Raises InputError for anything else.
    """
    found = [root / name for name in NAME_FILES if (root / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise InputError(f"{root}: expected one of {' and '.join(NAME_FILES)}, found both: remove one")
    path = found[0]
    try:
        text = path.read_text(encoding="utf-8-sig")
        given = json.loads(text) if path.suffix == ".json" else text.splitlines()
        pairs = given.items() if isinstance(given, dict) else enumerate(given)
        names = {int(label): name.strip() for label, name in pairs}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected the names of the labels, a line each or as JSON (a list, or an object from labels to "
            f"names): {error}"
        ) from error
    names = {label: name for label, name in names.items() if name}  # an empty line: a label that is not used
    if not all(0 <= label <= 255 for label in names):
        raise InputError(f"{path}: labels are numbers from 0 to 255, got {min(names)} to {max(names)}")
    return names


def _places(root: Path, part: str, folders: list[str]) -> tuple[str, str]:
    if part + ANNOTATIONS in folders:
        return part, part + ANNOTATIONS
    if {IMAGES, MASKS} <= set(entries(root / part)[0]):
        return f"{part}/{IMAGES}", f"{part}/{MASKS}"
    raise InputError(
        f"{root / part}: expected the folders {IMAGES} and {MASKS} in it, or a folder {part}{ANNOTATIONS} beside it; "
        "a folder of pictures for each class is for --task classification"
    )


def _pairs(root: Path, pictures: str, masks: str, listing: SceneListing) -> list[Pair]:
    walked = Listing()
    files = {place: sorted(walk(root, place, walked, set())) for place in (pictures, masks)}
    listing.ignored += walked.ignored
    stems = {place: _by_stem(place, found) for place, found in files.items()}
    if not files[pictures]:
        raise InputError(f"{root / pictures}: expected pictures, found none")
    twice = [found for found in (*stems[pictures].values(), *stems[masks].values()) if len(found) > 1]
    if twice:
        raise InputError(f"{root}: {twice[0][0]} and {twice[0][1]} differ in their endings only: rename or remove one")
    listing.ignored += [found[0] for stem, found in stems[masks].items() if stem not in stems[pictures]]
    return [
        Pair(found[0], stems[masks].get(stem, [None])[0], f"{masks}/{stem}") for stem, found in stems[pictures].items()
    ]


def _by_stem(place: str, files: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in files:
        stem = str(PurePosixPath(name).relative_to(place).with_suffix(""))
        found.setdefault(stem, []).append(name)
    return found
