"""Labelled images or series that can be loaded by index, from memory or from files."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.data._decode import decode_image
from striate.data._pack import Pack
from striate.data._preprocessing import Preprocessing
from striate.data._randomness import Keys, sample_keys, shuffled
from striate.data._threads import default_threads, in_threads
from striate.errors import InputError

Indices = NDArray[np.int64]


class ImageSplit(ABC):
    """N images of one size with their labels (int64, shape (N,)) and ids, which are distinct and never change.

    Or N series of one length: what `Preparation` calls samples.
    """

    in_memory: bool

    def __init__(self, ids: Sequence[str], labels: ArrayLike) -> None:
        """Take one id and one label per image; raises InputError if they do not match."""
        self.ids = list(ids)
        self.labels: NDArray[np.int64] = np.asarray(labels, dtype=np.int64).reshape(-1)
        if len(self.ids) != len(self.labels):
            raise InputError(
                f"split: expected one label per image, got {len(self.ids)} ids and {len(self.labels)} labels"
            )
        if len(set(self.ids)) != len(self.ids):
            raise InputError("split: expected distinct ids, some are there more than once")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def keys(self) -> Keys:
        """The key of each sample's randomness, uint64 of shape (N,)."""
        return sample_keys(self.ids)

    def order(self, seed: int, epoch: int) -> Indices:
        """Return the order in which an epoch takes the samples: a permutation, a function of (seed, epoch)."""
        return shuffled(seed, epoch, self.keys)

    @property
    @abstractmethod
    def digests(self) -> list[bytes]:
        """A hash of each image's content, before or after decoding."""

    @abstractmethod
    def load(self, indices: ArrayLike, *, threads: int | None = None) -> NDArray[Any]:
        """Return the samples at `indices`, any order and number, as a new array.

        Images are uint8 N x C x h x w, series float32 N x C x T with NaN where a series has no value.
        """

    def targets(self, indices: ArrayLike) -> NDArray[Any]:
        """Return what a network learns about the images at `indices`: their labels (N,)."""
        return self.labels[_as_rows(indices)]

    @abstractmethod
    def subset(self, rows: ArrayLike) -> "ImageSplit":
        """Return the split of the samples at `rows`, in that order."""


@final
class ArraySplit(ImageSplit):
    """Images in memory, uint8 N x C x h x w, or series, float32 N x C x T."""

    in_memory = True

    def __init__(
        self, ids: Sequence[str], labels: ArrayLike, images: NDArray[Any], digests: list[bytes] | None = None
    ) -> None:
        """Take the images and, where they are known, the hashes of what they were decoded from."""
        super().__init__(ids, labels)
        known = (images.dtype, images.ndim) in {(np.dtype(np.uint8), 4), (np.dtype(np.float32), 3)}
        if not known or len(images) != len(self.ids):
            raise InputError(
                f"split: expected uint8 images {len(self.ids)} x C x h x w or float32 series {len(self.ids)} x C x T, "
                f"got {images.dtype} of shape {images.shape}"
            )
        self.images = images
        self._digests = digests

    @property
    def digests(self) -> list[bytes]:
        """A hash of each image's content."""
        if self._digests is None:
            self._digests = [content_digest(image.tobytes()) for image in self.images]
        return self._digests

    def load(self, indices: ArrayLike, *, threads: int | None = None) -> NDArray[Any]:
        """Return copies of the samples at `indices`; there is nothing to do for threads."""
        return self.images[_as_rows(indices)]

    def subset(self, rows: ArrayLike) -> "ArraySplit":
        """Return the split of the samples at `rows`, in that order."""
        rows = _as_rows(rows)
        digests = None if self._digests is None else [self._digests[k] for k in rows]
        return ArraySplit([self.ids[k] for k in rows], self.labels[rows], self.images[rows], digests)


@dataclass(frozen=True, eq=False)
class Kept:
    """Where the pictures of a split lie in a pack; `damaged` is called whenever one is not as it was written."""

    pack: Pack
    rows: Indices
    damaged: Callable[[], None]

    def read(self, samples: Indices, images: NDArray[np.uint8], *, threads: int | None = None) -> list[int]:
        """Read the pictures of `samples` into `images`, and return which of them could not be read."""

        def some(chunk: range) -> list[int]:
            return [k for k in chunk if not self.pack.read(int(self.rows[samples[k]]), images[k])]

        count = threads or default_threads()
        chunks = [range(k, len(samples), count) for k in range(count)]  # a file is read faster at several places
        failed = [k for part in in_threads(some, chunks, threads=count) for k in part]
        if failed:
            self.damaged()
        return failed


@final
class FolderSplit(ImageSplit):
    """Images decoded from files each time they are loaded, or read from a pack that holds them decoded.

    For sets that do not fit in memory. An id is the file's path under `root`, with "/" between folders.
    """

    in_memory = False

    def __init__(
        self,
        root: Path,
        ids: Sequence[str],
        labels: ArrayLike,
        preprocessing: Preprocessing,
        digests: list[bytes],
        kept: Kept | None = None,
    ) -> None:
        """Take the files' paths under `root`, their labels, the hashes of their contents, and where they are kept."""
        super().__init__(ids, labels)
        self.root, self.preprocessing, self._digests, self.kept = root, preprocessing, digests, kept

    @property
    def digests(self) -> list[bytes]:
        """A hash of each file's content when the folder was opened."""
        return self._digests

    def load(self, indices: ArrayLike, *, threads: int | None = None) -> NDArray[np.uint8]:
        """Load the images at `indices` with some threads (default: one per core, at most 8); raises ImageError.

        What a pack does not give as it was written is decoded from its file: the same bytes.
        """
        rows = _as_rows(indices)
        images = np.empty((len(rows), self.preprocessing.channels, *self.preprocessing.size), np.uint8)
        left = range(len(rows)) if self.kept is None else self.kept.read(rows, images, threads=threads)
        paths = [self.root / self.ids[rows[k]] for k in left]
        decode = partial(decode_image, preprocessing=self.preprocessing)
        for k, image in zip(left, in_threads(decode, paths, threads=threads), strict=True):
            images[k] = image
        return images

    def subset(self, rows: ArrayLike) -> "FolderSplit":
        """Return the split of the samples at `rows`, in that order."""
        rows = _as_rows(rows)
        ids, digests = [self.ids[k] for k in rows], [self._digests[k] for k in rows]
        kept = self.kept and replace(self.kept, rows=self.kept.rows[rows])
        return FolderSplit(self.root, ids, self.labels[rows], self.preprocessing, digests, kept)


def content_digest(data: bytes) -> bytes:
    """Return 16 bytes that stand for a content (BLAKE2b)."""
    return hashlib.blake2b(data, digest_size=16).digest()


def stratified(labels: NDArray[np.int64], scores: NDArray[np.float64], fraction: float) -> NDArray[np.bool_]:
    """Choose round(fraction * N) samples, the same share of each class to within one, those with the lowest scores."""
    chosen = np.zeros(len(labels), bool)
    classes, sizes = np.unique(labels, return_counts=True)
    quotas = np.floor(sizes * fraction).astype(int)
    left = round(len(labels) * fraction) - int(quotas.sum())
    quotas[np.argsort(quotas - sizes * fraction, kind="stable")[:left]] += 1  # largest remainders first
    for label, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(labels == label)
        chosen[members[np.argsort(scores[members], kind="stable")[:quota]]] = True
    return chosen


def _as_rows(indices: ArrayLike | Iterable[int]) -> Indices:
    return np.asarray(indices, dtype=np.int64).reshape(-1)
