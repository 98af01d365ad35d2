"""Keyed randomness: a number is a function of (seed, epoch, sample, stream), so there is no generator state to restore.

Batch order, the number of workers and a restart can therefore not change what happens to a sample.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def sample_keys(ids: Sequence[str]) -> Keys:
    """Return the 64-bit key of each sample id (BLAKE2b of its UTF-8 text, little-endian): uint64 of shape (N,)."""
    digests = b"".join(hashlib.blake2b(_utf8(name), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniform(seed: int, epoch: int, keys: Keys, stream: str) -> NDArray[np.float64]:
    """Return one number in [0, 1) per key, uniform on the multiples of 2^-53; streams are independent of each other."""
    return (_hash(seed, epoch, keys, stream) >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def shuffled(seed: int, epoch: int, keys: Keys) -> NDArray[np.int64]:
    """Return a permutation of 0 .. N-1 in which the order of two samples depends on their keys alone."""
    return np.argsort(_hash(seed, epoch, keys, "shuffle"), kind="stable").astype(np.int64)


def again(keys: Keys, number: NDArray[np.int64]) -> Keys:
    """Return the keys of the draws of samples that are drawn repeatedly; draw number 0 has the sample's own key."""
    repeated = _mix(keys + number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return np.where(number == 0, keys, repeated)


@dataclass(frozen=True)
class Draw:
    """The random numbers of a batch in one epoch, one of each stream per sample."""

    seed: int
    epoch: int
    keys: Keys

    def bits(self, stream: str) -> Keys:
        """Return 64 random bits each, shape (N,)."""
        return _hash(self.seed, self.epoch, self.keys, f"augment/{stream}")

    def unit(self, stream: str) -> NDArray[np.float64]:
        """Return numbers uniform in [0, 1), shape (N,)."""
        return uniform(self.seed, self.epoch, self.keys, f"augment/{stream}")

    def signed(self, stream: str) -> NDArray[np.float64]:
        """Return numbers uniform in [-1, 1), shape (N,)."""
        return 2 * self.unit(stream) - 1

    def normal(self, stream: str) -> NDArray[np.float64]:
        """Return numbers of the standard normal distribution, shape (N,)."""
        from scipy.special import ndtri

        values: NDArray[np.float64] = ndtri(self.unit(stream) + 2.0**-54)  # the middle of each step: never 0 or 1
        return values

    def normals(self, stream: str, count: int) -> NDArray[np.float64]:
        """Return so many numbers of the standard normal distribution each, shape (N, count)."""
        from scipy.special import ndtri

        steps = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # SplitMix64, begun at own bits
        bits = _mix(self.bits(stream)[:, None] + steps)
        values: NDArray[np.float64] = ndtri((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54)
        return values


def _hash(seed: int, epoch: int, keys: Keys, stream: str) -> Keys:
    """Mix the context into each key, twice: two keys never meet within a context, whatever the contexts."""
    context = hashlib.blake2b(_utf8(f"{int(seed)}/{int(epoch)}/{stream}"), digest_size=16).digest()
    first, second = np.frombuffer(context, dtype="<u8").astype(np.uint64)
    return _mix(_mix(np.asarray(keys, dtype=np.uint64) ^ first) + second)


def _mix(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that mixes every bit into every other."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names need not be valid UTF-8
