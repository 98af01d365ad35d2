"""A file of decoded pictures of one size: written once, whole or not believed, each picture with its checksum.

The pictures lie one behind the other; an index in JSON, its place, length and digest, and a mark come last, so that a
file that was cut short at any place has no end that can be believed.
"""

import hashlib
import json
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from striate.files import replacing

ENDING = ".pack"
_MARK = b"striate pack 1\r\n"
_END = struct.Struct("<QQ16s16s")  # where the index begins, its length, its digest, the mark
_BUFFER = 1 << 20


class DamagedError(Exception):
    """A file that is no whole pack; the message says what is wrong with it."""


class Entry(NamedTuple):
    """A picture file, and what became of it."""

    name: str
    stamp: tuple[int, ...] | None  # size and times of the file when it was read (see `_cache`); None: not to be trusted
    digest: bytes | None  # of the file's content; None: it could not be read
    result: int | str  # the checksum of the decoded picture, or why it could not be decoded


@final
class Pack:
    """An open pack: `about`, what its writer said of it, and its `entries`, which may be taken out to save memory."""

    def __init__(self, path: Path) -> None:
        """Open a file and check its size and its index; raises DamagedError, OSError if it cannot be read."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()
        self.bytes = os.fstat(self._file).st_size
        index = self._index()
        self.about: dict[str, Any] = index["about"]
        self.shape: tuple[int, int, int] = tuple(index["shape"])
        self.entries = [
            Entry(name, stamp and tuple(stamp), digest and bytes.fromhex(digest), result)
            for name, stamp, digest, result in index["entries"]
        ]
        self._picture = int(np.prod(self.shape))
        self._checksums = np.asarray([e.result if isinstance(e.result, int) else 0 for e in self.entries], np.uint32)

    def read(self, row: int, out: NDArray[np.uint8]) -> bool:
        """Read a picture into `out` (C x h x w, contiguous); False if what is there is not what was written."""
        if self._read_at(row * self._picture, out.data.cast("B")) != self._picture:
            return False
        return zlib.crc32(out.data) == int(self._checksums[row])

    def is_at(self, path: Path) -> bool:
        """Whether this very file lies at `path`, and no newer one."""
        try:
            return os.path.samestat(os.fstat(self._file), path.stat())
        except OSError:
            return False

    def _read_at(self, place: int, out: memoryview) -> int:
        """Fill `out` from a place on and return how many bytes there were; 0 if the system cannot read them."""
        # No memory map: reading behind the end of one that another process cuts short would kill this one, and its
        # pages would count as this process's memory.
        done = 0
        try:
            while done < len(out):
                if hasattr(os, "preadv"):
                    count = os.preadv(self._file, [out[done:]], place + done)
                else:
                    with self._lock:
                        os.lseek(self._file, place + done, os.SEEK_SET)
                        part = os.read(self._file, len(out) - done)
                    out[done : done + len(part)] = part
                    count = len(part)
                if not count:
                    break
                done += count
        except OSError:
            return 0
        return done

    def _index(self) -> dict[str, Any]:
        end = bytearray(_END.size)
        if self.bytes < _END.size or self._read_at(self.bytes - _END.size, memoryview(end)) != _END.size:
            raise DamagedError("it is too short")
        begin, length, digest, mark = _END.unpack(end)
        if mark != _MARK or begin + length + _END.size != self.bytes:
            raise DamagedError("it is incomplete")
        text = bytearray(length)
        if self._read_at(begin, memoryview(text)) != length or _digest(text) != digest:
            raise DamagedError("its index is damaged")
        index: dict[str, Any] = json.loads(text)
        return index


class Picture(NamedTuple):
    """A picture file, and its decoded picture or why there is none."""

    name: str
    stamp: tuple[int, ...] | None
    digest: bytes | None
    image: NDArray[np.uint8] | str


def write_pack(path: Path, shape: tuple[int, int, int], about: dict[str, Any], pictures: Iterable[Picture]) -> None:
    """Write pictures (uint8 of `shape`, C x h x w) to a file, atomically; raises StriateError if there is no room."""
    entries: list[list[Any]] = []
    nothing = bytes(int(np.prod(shape)))
    with replacing(path) as temporary, temporary.open("wb", buffering=_BUFFER) as file:
        for name, stamp, digest, image in pictures:
            file.write(nothing if isinstance(image, str) else image.data)
            entries.append(
                [name, stamp, digest and digest.hex(), image if isinstance(image, str) else zlib.crc32(image.data)]
            )
        index = json.dumps({"shape": shape, "about": about, "entries": entries}).encode()
        file.write(index)
        file.write(_END.pack(len(nothing) * len(entries), len(index), _digest(index), _MARK))


def _digest(data: bytes | bytearray) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
