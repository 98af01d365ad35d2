"""What a folder of images holds: a folder per class, directly or below train/, val/ and test/."""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from striate.data._options import DataOptions
from striate.errors import InputError

PARTS = ("train", "val", "test")

SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_WORDS |= {"test": "test", "testing": "test"}
CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what operating systems leave behind, beside hidden files


@dataclass
class Listing:
    """Files by class, in sorted order, and what was passed over; all paths are relative to one root, with "/".

    Folders that cannot be read are listed in `closed` where it is a list; else they are an error.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    closed: list[str] | None = None


def list_parts(root: Path) -> dict[str, Listing]:
    """Return the class folders of each split folder, or of the root as the part "" where there are no split folders.

    Raises InputError for a folder that is neither: one without class folders or images, or with a mixture.
    """
    top = Listing()
    folders, files = entries(root, top)
    if "train" in folders:
        strange = [name for name in folders if name not in PARTS]
        if strange:
            fitting = SPLIT_WORDS.get(strange[0].casefold())
            advice = f"rename it to {fitting!r}" if fitting in {"val", "test"} else "move it away"
            raise InputError(f"{root}: expected only train, val and test, found the folder {strange[0]!r}: {advice}")
        parts = {part: list_classes(root, part) for part in PARTS if part in folders}
        parts["train"].ignored[:0] = [*top.ignored, *files]
        return parts
    alike = [name for name in folders if name.casefold() in SPLIT_WORDS]
    if alike:
        raise InputError(
            f"{root}: the folder {alike[0]!r} looks like a split, but there is no folder 'train': name the folders "
            "train, val and test, or keep class folders only"
        )
    return {"": list_classes(root, "")}


def count_training(root: Path, options: DataOptions) -> int:
    """Return about how many files of a folder would be trained on; none is opened.

    Raises InputError as `list_parts` does.
    """
    parts = list_parts(root)
    files = sum(len(names) for names in next(iter(parts.values())).files.values())
    aside = {"val": options.val_fraction, "test": options.test_fraction}
    return round(files * (1 - sum(share for part, share in aside.items() if part not in parts)))


def list_classes(root: Path, part: str) -> Listing:
    """Return the files of every class folder of `root/part`; raises InputError if there is none or one is empty."""
    top = root / part
    listing = Listing()
    folders, files = entries(top, listing, part)
    if not folders:
        found = f"{len(files)} files but no folders" if files else "nothing"
        raise InputError(f"{top}: expected a folder of images for each class, found {found}")
    listing.ignored += [_below(part, name) for name in files]
    for folder in folders:
        # One spelling of accents: file systems differ, and a class must keep its name from one machine to the next.
        name = unicodedata.normalize("NFC", folder)
        found_files = walk(root, _below(part, folder), listing, set())
        if not found_files:
            raise InputError(
                f"{top / folder}: expected images of class {name!r}, found none: add some or remove the folder"
            )
        listing.files.setdefault(name, []).extend(found_files)
    listing.files = {name: sorted(listing.files[name]) for name in sorted(listing.files)}
    return listing


def entries(folder: Path, listing: Listing | None = None, relative: str = "") -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder, sorted, without hidden ones and clutter.

    What is left out is noted in `listing`. Raises InputError if the folder cannot be read.
    """
    folders, files, ignored = [], [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith(".") or entry.name.casefold() in CLUTTER:
                    ignored.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file() or entry.is_symlink():  # a link to nowhere is a file that cannot be read
                    files.append(entry.name)
                else:
                    ignored.append(entry.name)  # sockets, pipes: opening one would wait forever
    except OSError as error:
        if listing is not None and listing.closed is not None:
            listing.closed.append(relative)
            return [], []
        raise InputError(
            f"{folder}: the folder cannot be read ({error.strerror or error}): allow reading it"
        ) from error
    if listing is not None:
        listing.ignored += [_below(relative, name) for name in sorted(ignored)]
    return sorted(folders), sorted(files)


def walk(root: Path, relative: str, listing: Listing, above: set[tuple[int, int]]) -> list[str]:
    """Return all files below a class folder; links to folders are followed, but not in circles."""
    try:
        status = (root / relative).stat()
    except OSError:  # the folder above may be listed but not entered
        entries(root / relative, listing, relative)
        return []
    place = (status.st_dev, status.st_ino)
    if place in above:
        listing.ignored.append(relative)
        return []
    folders, files = entries(root / relative, listing, relative)
    found = [_below(relative, name) for name in files]
    for name in folders:
        found += walk(root, _below(relative, name), listing, above | {place})
    return found


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
