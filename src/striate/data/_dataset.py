"""A data set that is ready for use: classes, preprocessing and splits."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from striate.data._classmap import ClassMap
from striate.data._masks import Masks
from striate.data._preprocessing import Preparation
from striate.data._splits import ImageSplit

Progress = Callable[[int, int, str], None]  # how much is done, of how much, of what


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be decoded: its path and the reason."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set: `splits` by name ("train", "val", "test"), what was left out, and what identifies it.

    `unreadable` lists the files that were skipped because they could not be decoded, `ignored` those that are not part
    of the layout (hidden files, stray files beside the class folders), `excluded` those that the options left out.
    """

    name: str
    classes: ClassMap
    preprocessing: Preparation
    splits: dict[str, ImageSplit]
    unreadable: tuple[Unreadable, ...] = ()
    ignored: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    masks: Masks | None = None  # how the classes are stored in masks; None: a picture has one label

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the class names and every sample's split, id, label and content."""
        whole = hashlib.sha256(json.dumps(self.classes.to_json()).encode())
        for name, split in sorted(self.splits.items()):
            for sample, label, digest in zip(split.ids, split.labels.tolist(), split.digests, strict=True):
                whole.update(json.dumps([name, sample, label, digest.hex()]).encode())
        return whole.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images per split and class, absent classes with 0."""
        return {
            name: dict(zip(self.classes, np.bincount(split.labels, minlength=len(self.classes)).tolist(), strict=True))
            for name, split in self.splits.items()
        }

    def absent(self, split: str) -> list[str]:
        """Return the classes of which `split` has no image."""
        return [name for name, count in self.counts()[split].items() if count == 0]

    def describe(self) -> str:
        """Return the facts in a few lines: images per split and class, what was skipped and ignored."""
        counts = self.counts()
        width = max(len(name) for name in [*self.classes, "class"])
        lines = [f"{self.name}: {', '.join(f'{name} {len(split)}' for name, split in self.splits.items())}"]
        lines.append("  ".join([f"{'class':<{width}}", *(f"{name:>7}" for name in counts)]))
        for label in self.classes:
            lines.append("  ".join([f"{label:<{width}}", *(f"{row[label]:>7}" for row in counts.values())]))
        lines += [f"skipped {file.path}: {file.reason}" for file in self.unreadable]
        if self.excluded:
            lines.append(f"excluded {len(self.excluded)} files, as asked")
        if self.ignored:
            lines.append(f"ignored {len(self.ignored)} files or folders that are no part of the set")
        return "\n".join(lines)
