"""Pictures with masks, to be loaded by index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.data._decode import decode_image
from striate.data._masks import Mask, Masks, fit_mask, read_mask
from striate.data._preprocessing import Preprocessing
from striate.data._splits import ImageSplit
from striate.data._threads import in_threads
from striate.errors import InputError


class Scene(NamedTuple):
    """A picture and its mask: paths under one root, hashes of both, and how many pixels show each class."""

    picture: str
    mask: str
    digest: bytes  # of both contents
    content: bytes  # of the picture's alone
    pixels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Loaded:
    """Pictures N x C x h x w and masks of classes N x h x w in memory, both uint8."""

    images: NDArray[np.uint8]
    masks: Mask


@final
class SceneSplit(ImageSplit):
    """Pictures with masks; a picture's label is the class of most of its pixels."""

    def __init__(
        self, root: Path, scenes: Sequence[Scene], masks: Masks, preprocessing: Preprocessing, loaded: Loaded | None
    ) -> None:
        """Take the scenes below `root`; what is not `loaded` is decoded each time."""
        labels = [int(np.argmax(scene.pixels)) for scene in scenes]
        super().__init__([scene.picture for scene in scenes], np.asarray(labels, np.int64))
        self.root, self.scenes, self.meaning, self.preprocessing = root, list(scenes), masks, preprocessing
        self.loaded = loaded
        self.in_memory = loaded is not None

    @property
    def digests(self) -> list[bytes]:
        """A hash of each picture's and its mask's content when the folder was opened."""
        return [scene.digest for scene in self.scenes]

    @property
    def pixels(self) -> NDArray[np.int64]:
        """How many pixels of all masks, at their own size, show each class."""
        counts = np.asarray([scene.pixels for scene in self.scenes], np.int64).reshape(-1, len(self.meaning.values))
        total: NDArray[np.int64] = counts.sum(0)
        return total

    def load(self, indices: ArrayLike, *, threads: int | None = None) -> NDArray[np.uint8]:
        """Return the pictures at `indices`: a new uint8 array N x C x h x w; raises ImageError."""
        rows = np.asarray(indices, np.int64).reshape(-1)
        if self.loaded is not None:
            kept: NDArray[np.uint8] = self.loaded.images[rows]
            return kept
        images = np.empty((len(rows), self.preprocessing.channels, *self.preprocessing.size), np.uint8)
        paths = [self.root / self.ids[k] for k in rows]
        decode = partial(decode_image, preprocessing=self.preprocessing)
        for k, image in enumerate(in_threads(decode, paths, threads=threads)):
            images[k] = image
        return images

    def targets(self, indices: ArrayLike) -> Mask:
        """Return the masks at `indices`, of the pictures' size: classes or VOID, a new uint8 array N x h x w."""
        rows = np.asarray(indices, np.int64).reshape(-1)
        if self.loaded is not None:
            masks: Mask = self.loaded.masks[rows]
            return masks
        masks = np.empty((len(rows), *self.preprocessing.size), np.uint8)
        for k, mask in enumerate(in_threads(self._fitted, rows.tolist())):
            masks[k] = mask
        return masks

    def _fitted(self, row: int) -> Mask:
        return fit_mask(self.truth(row), self.preprocessing)

    def truth(self, row: int) -> Mask:
        """Return a mask at its own size as it is in the file: classes or VOID, uint8 H x W; raises ImageError."""
        return self.meaning.classes_of(read_mask(self.root / self.scenes[row].mask).values)

    def subset(self, rows: ArrayLike) -> "SceneSplit":
        """Return the split of the scenes at `rows`, in that order."""
        rows = np.asarray(rows, np.int64).reshape(-1)
        loaded = self.loaded and replace(self.loaded, images=self.loaded.images[rows], masks=self.loaded.masks[rows])
        return SceneSplit(self.root, [self.scenes[k] for k in rows], self.meaning, self.preprocessing, loaded)


def require_scenes(split: ImageSplit) -> SceneSplit:
    """Return a split that has masks; raises InputError for one that has labels only."""
    if not isinstance(split, SceneSplit):
        raise InputError("segmentation needs pictures with masks, this split has one label per picture")
    return split
