"""Pictures that look the same: a 64-bit perceptual hash, an index over it, and a closer look at what it finds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels of the reduced picture that the hash is computed from
RADIUS = 7  # hashes of one picture that was resized or compressed anew differ in few of their 64 bits
# Root mean square difference of 8 x 8 colour thumbnails, as a part of their standard deviation: that of copies is about
# 0.05. At least 3 of 255, for pictures with little contrast, and at most 10.
DIFFERENCE, LEAST, MOST = 0.12, 3.0, 10.0
_BANDS = 4  # of 16 bits: hashes that differ in 7 bits or fewer differ in at most one bit of some band
_CHUNK = 1 << 20  # pairs compared at once
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)

# the cosines of frequencies 1 to 8 over 32 points: the picture's coarse structure, without its mean
_COSINES = np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two pictures are compared by: the hash, and a thumbnail of 8 x 8 x 3 bytes."""

    hash: int
    thumbnail: bytes


def likeness(picture: Image.Image) -> Likeness:
    """Return the likeness of a picture of mode L or RGB.

    The hash has a bit for each of the 64 lowest frequencies of the cosine transform but those along the edges: whether
    it is above their median (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010).
    """
    reduced = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    spectrum = _COSINES @ np.asarray(reduced.convert("L"), np.float32) @ _COSINES.T
    bits = np.packbits(spectrum.ravel() > np.median(spectrum))
    small = reduced.convert("RGB").resize((8, 8), Image.Resampling.BOX)
    return Likeness(int.from_bytes(bits.tobytes()), small.tobytes())


def near_pairs(likenesses: list[Likeness]) -> NDArray[np.int64]:
    """Return the pairs (i < j) of pictures that look the same, M x 2.

    Of many with one and the same hash the first stands for all: they are compared with it alone.
    """
    hashes = np.array([each.hash for each in likenesses], np.uint64)
    thumbnails = np.frombuffer(b"".join(each.thumbnail for each in likenesses), np.uint8).reshape(-1, 3 * 8 * 8)
    unique, first, member_of = np.unique(hashes, return_index=True, return_inverse=True)
    same = np.stack([first[member_of], np.arange(len(hashes))], axis=1)
    candidates = np.concatenate([same[same[:, 0] != same[:, 1]], first[hash_pairs(unique, RADIUS)]])
    alike = np.zeros(len(candidates), bool)
    for start in range(0, len(candidates), _CHUNK // 16):
        a, b = (thumbnails[candidates[start : start + _CHUNK // 16, k]].astype(np.float32) for k in (0, 1))
        allowed = np.clip(DIFFERENCE * np.minimum(a.std(axis=1), b.std(axis=1)), LEAST, MOST)
        alike[start : start + len(a)] = ((a - b) ** 2).mean(axis=1) <= allowed**2
    return np.unique(np.sort(candidates[alike], axis=1), axis=0)


def hash_pairs(hashes: NDArray[np.uint64], radius: int) -> NDArray[np.int64]:
    """Return all pairs (i < j) of distinct 64-bit hashes that differ in at most `radius` (0 to 7) bits, M x 2.

    Multi-index hashing (Norouzi, Punjani and Fleet 2012): by the pigeonhole principle such hashes agree in one of four
    bands of 16 bits up to one bit. Each band is looked up as it is and with each of its bits turned.
    """
    found = [np.empty((0, 2), np.int64)]
    rows = np.arange(len(hashes))
    for band in range(_BANDS):
        words = (hashes >> np.uint64(16 * band)).astype(np.uint16)
        order = np.argsort(words, kind="stable")
        ordered = words[order]
        for mask in (0, *(1 << bit for bit in range(16))):
            probes = words ^ np.uint16(mask)
            starts = np.searchsorted(ordered, probes, "left")
            lengths = np.searchsorted(ordered, probes, "right") - starts
            for some in _chunks(rows, lengths):
                left = np.repeat(some, lengths[some])
                within = np.arange(len(left)) - np.repeat(np.cumsum(lengths[some]) - lengths[some], lengths[some])
                right = order[np.repeat(starts[some], lengths[some]) + within]
                keep = left < right
                left, right = left[keep], right[keep]
                close = _ones(hashes[left] ^ hashes[right]) <= radius
                found.append(np.stack([left[close], right[close]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _ones(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Count the bits that are 1 in each word."""
    counts: NDArray[np.uint8] = _ONES[words.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.uint8)
    return counts


def groups(count: int, pairs: NDArray[np.int64]) -> list[list[int]]:
    """Return the connected groups of two or more among `count` things, each sorted, in the order of their firsts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for k in np.unique(pairs).tolist():
        members.setdefault(int(labels[k]), []).append(k)
    return list(members.values())


def _chunks(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Divide the rows so that the lengths of each part add up to about _CHUNK."""
    ends = np.cumsum(lengths)
    if not len(ends) or not ends[-1]:
        return []
    return np.split(rows, np.searchsorted(ends, np.arange(_CHUNK, int(ends[-1]), _CHUNK)))
