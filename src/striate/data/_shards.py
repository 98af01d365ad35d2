"""Pictures within tar files, read at their places: for sets too large or too far away for a file per picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.data._decode import ImageError, decode_image
from striate.data._preprocessing import Preprocessing
from striate.data._randomness import sample_keys, shuffled
from striate.data._shard_store import Range, ShardStore
from striate.data._splits import ImageSplit, Indices, content_digest
from striate.data._threads import in_threads

WINDOW = 8  # shards whose samples are mixed with each other


@dataclass(frozen=True, eq=False)
class Places:
    """Where each sample's picture lies: the number of its shard, its first byte there, its size (N each)."""

    shard: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def __getitem__(self, rows: Indices) -> "Places":
        return Places(self.shard[rows], self.start[rows], self.size[rows])


@final
class ShardSplit(ImageSplit):
    """Pictures decoded from ranges of shards each time they are loaded. An id is SHARD/KEY."""

    in_memory = False

    def __init__(
        self,
        store: ShardStore,
        shards: Sequence[str],
        ids: Sequence[str],
        labels: ArrayLike,
        places: Places,
        preprocessing: Preprocessing,
        digests: list[bytes],
    ) -> None:
        """Take the shards' names in `store` and of each sample id, label, place and the hash of its content."""
        super().__init__(ids, labels)
        self.store, self.shards, self.places = store, list(shards), places
        self.preprocessing, self._digests = preprocessing, digests

    @property
    def digests(self) -> list[bytes]:
        """A hash of each picture's content when its shard was indexed."""
        return self._digests

    def order(self, seed: int, epoch: int) -> Indices:
        """Return an epoch's order: shards shuffled, samples shuffled among WINDOW shards that follow each other.

        So an epoch reads a few shards at a time, each once, from one end of the set to the other.
        """
        rank = np.empty(len(self.shards), np.int64)
        rank[shuffled(seed, epoch, sample_keys(self.shards))] = np.arange(len(self.shards))
        mixed = shuffled(seed, epoch, self.keys)
        window = rank[self.places.shard] // WINDOW
        ordered: Indices = mixed[np.argsort(window[mixed], kind="stable")]
        return ordered

    def load(self, indices: ArrayLike, *, threads: int | None = None) -> NDArray[np.uint8]:
        """Read and decode the pictures at `indices` with some threads (default: one per core, at most 8).

        Raises ImageError, also for a shard that is not what it was when it was indexed.
        """
        rows = np.asarray(indices, np.int64).reshape(-1)
        along = np.lexsort((self.places.start[rows], self.places.shard[rows]))  # as they lie
        contents = self.store.read([self._range(int(k)) for k in rows[along]])
        images = np.empty((len(rows), self.preprocessing.channels, *self.preprocessing.size), np.uint8)

        def decode(at: int) -> None:
            k, row = along[at], int(rows[along[at]])
            images[k] = decode_image(self._checked(row, contents[at]), self.preprocessing, name=self.ids[row])

        for _ in in_threads(decode, range(len(rows)), threads=threads):
            pass
        return images

    def subset(self, rows: ArrayLike) -> "ShardSplit":
        """Return the split of the samples at `rows`, in that order."""
        rows = np.asarray(rows, np.int64).reshape(-1)
        ids, digests = [self.ids[k] for k in rows], [self._digests[k] for k in rows]
        return ShardSplit(
            self.store, self.shards, ids, self.labels[rows], self.places[rows], self.preprocessing, digests
        )

    def _range(self, row: int) -> Range:
        places = self.places
        return Range(self.shards[places.shard[row]], int(places.start[row]), int(places.size[row]))

    def _checked(self, row: int, content: bytes | Exception) -> bytes:
        if isinstance(content, Exception):
            reason = f"its shard cannot be read ({getattr(content, 'strerror', None) or content}): look after it"
            raise ImageError(self.ids[row], reason, "access") from content
        if content_digest(content) != self._digests[row]:
            reason = "its shard is not what it was when it was opened: put it back, or start again"
            raise ImageError(self.ids[row], reason, "access")
        return content
