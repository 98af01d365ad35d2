"""The cache: the pictures of a folder decoded once into one file, which later epochs and runs read instead.

A cache belongs to a folder and to what decoding depends on. Of the folder's files it knows size, times and the hash of
the content: a file with the same size and times is taken as unchanged, any other is compared by its content.
"""

import contextlib
import functools
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import features

from striate.data import _decode
from striate.data._dataset import ImageData, Progress
from striate.data._decode import ImageError, decode_image, read_picture
from striate.data._pack import ENDING, DamagedError, Entry, Pack, Picture, write_pack
from striate.data._preprocessing import Preprocessing
from striate.data._splits import FolderSplit, Kept, content_digest
from striate.data._threads import in_threads
from striate.errors import InputError, StriateError
from striate.files import PART, alone

UNSETTLED = 2_000_000_000  # ns: a file changed so shortly before it was read may change again and keep its times
LOCK = ".lock"
_LIBRARIES = ("pil", "libjpeg_turbo", "jpg", "webp", "libtiff")


class _HeldError(Exception):
    """Another process holds a lock."""


class Opened(NamedTuple):
    """Per file the hash of its content, or why it cannot be decoded; and where the decoded pictures are kept."""

    results: list[bytes | str]
    kept: Kept


class Stored(NamedTuple):
    """A cache in its folder; without `about` it is damaged or of another version."""

    path: Path
    bytes: int
    pictures: int
    about: dict[str, Any]

    @property
    def description(self) -> str:
        """Say in a line what it holds."""
        if not self.about:
            return "damaged, or of another version"
        height, width = self.about["size"]
        return (
            f"{self.pictures:,} pictures of {self.about['root']}, {height} x {width}, "
            f"{'grey' if self.about['channels'] == 1 else 'RGB'}, {self.about['fit']}"
        )


@dataclass(frozen=True)
class Cache:
    """A folder of caches, and who is told in a sentence what happens there."""

    folder: Path
    note: Callable[[str], None] = lambda text: None

    def open(
        self, root: Path, names: Sequence[str], preprocessing: Preprocessing, progress: Progress | None = None
    ) -> Opened:
        """Return the decoded pictures of the files `names` below `root`, after making what is not there or has changed.

        Of several processes one makes it and the others wait. Raises InputError if the folder is a file, StriateError
        if the cache cannot be read or written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: choose a folder for the cache")
        job = _Job(root, names, preprocessing, progress)
        path = self.folder / job.file_name
        pack = _existing(path, job.about)
        rows = job.unchanged(pack)
        if pack is None or len(rows) < len(names):
            with alone(
                path.with_name(f".{path.name}{LOCK}"),
                lambda: self.note(f"waiting for another process that is making the cache {path}"),
            ) as held:
                if held:
                    _remove_parts(path)
                if pack is None or not pack.is_at(path):  # another process has made it
                    pack = _existing(path, job.about, self.note)
                    rows = job.unchanged(pack)
                if pack is None or len(rows) < len(names):
                    pack = self._make(path, job, pack, rows)
                    rows = {entry.name: row for row, entry in enumerate(pack.entries)}
        return self._opened(pack, [rows[name] for name in names])

    def stored(self) -> list[Stored]:
        """Return the caches in the folder, sorted by name."""
        found = []
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            try:
                pack = Pack(path)
                found.append(Stored(path, pack.bytes, len(pack.entries), pack.about))
            except FileNotFoundError:
                continue
            except (DamagedError, OSError):
                found.append(Stored(path, path.stat().st_size, 0, {}))
        return found

    def clear(self) -> None:
        """Remove all caches in the folder, and what killed processes have left; raises StriateError if it must not be.

        A run that reads one of them keeps what it has opened, and one that is being made is left alone.
        """
        try:
            for lock in self.folder.glob(f".*{ENDING}{LOCK}"):
                with contextlib.suppress(_HeldError), alone(lock, _refuse_to_wait):
                    _remove_parts(lock.with_name(lock.name[1:].removesuffix(LOCK)))
                    lock.unlink()
            for path in self.folder.glob(f"*{ENDING}"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StriateError(
                f"{error.filename}: cannot be removed ({error.strerror}): allow writing in {self.folder}"
            ) from error

    def _make(self, path: Path, job: "_Job", old: Pack | None, unchanged: dict[str, int]) -> Pack:
        """Write the pack: what is unchanged is copied, all else decoded."""
        if old is not None:
            new = len(job.names) - len(unchanged)
            self.note(f"{new:,} of {len(job.names):,} files are new or changed: the cache {path} is written anew")
        needed, free = len(job.names) * int(np.prod(job.shape)), shutil.disk_usage(path.parent).free
        if free < needed:
            raise StriateError(
                f"{path.parent}: the cache of {job.root} takes {amount(needed)}, and {amount(free)} are free: free "
                "some space, choose another folder for the cache, or train without one"
            )
        write_pack(path, job.shape, job.about, job.pictures(old, unchanged))
        pack = Pack(path)
        self.note(f"{len(job.names):,} decoded pictures are kept in {path} ({amount(pack.bytes)})")
        return pack

    def _opened(self, pack: Pack, rows: list[int]) -> Opened:
        @functools.cache  # said once
        def damaged() -> None:
            with contextlib.suppress(OSError):
                if pack.is_at(pack.path):
                    pack.path.unlink()
            self.note(
                f"the cache {pack.path} is damaged: what it has lost is decoded from the files, and the next run makes "
                "it anew"
            )

        results = [_result(pack.entries[row]) for row in rows]
        pack.entries.clear()  # a large set has many names, and who asked has them, too
        return Opened(results, Kept(pack, np.asarray(rows, np.int64), damaged))


@dataclass(frozen=True)
class _Job:
    """Which pictures are wanted, and how they are decoded."""

    root: Path
    names: Sequence[str]
    preprocessing: Preprocessing
    progress: Progress | None

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.preprocessing.channels, *self.preprocessing.size)

    @property
    def file_name(self) -> str:
        """The name of the cache's file: one for each folder and each way of decoding."""
        root = self.root.resolve()
        key = f"{root}/{self.shape}/{self.preprocessing.fit}".encode("utf-8", "surrogateescape")
        return f"{root.name[:40] or 'root'}-{hashlib.blake2b(key, digest_size=6).hexdigest()}{ENDING}"

    @property
    def about(self) -> dict[str, Any]:
        """What the decoded bytes depend on, besides the files."""
        code = Path(_decode.__file__).read_bytes()
        return {
            "root": str(self.root.resolve()),
            "size": list(self.preprocessing.size),
            "channels": self.preprocessing.channels,
            "fit": self.preprocessing.fit,
            "decoder": content_digest(code).hex(),
            "libraries": {name: features.version(name) for name in _LIBRARIES},
        }

    def unchanged(self, pack: Pack | None) -> dict[str, int]:
        """Return the row of each file that is as it was when the pack was made."""
        if pack is None:
            return {}
        held = {entry.name: row for row, entry in enumerate(pack.entries)}
        rows = {name: held[name] for name in self.names if name in held}
        doubtful = [name for name, row in rows.items() if not _same_times(self.root / name, pack.entries[row])]

        def compare(name: str) -> bool:
            return _same_content(self.root / name, pack.entries[held[name]])

        for done, (name, same) in enumerate(zip(doubtful, in_threads(compare, doubtful), strict=True), 1):
            if not same:
                del rows[name]
            if self.progress:
                self.progress(done, len(doubtful), "comparing with the cache")
        return rows

    def pictures(self, old: Pack | None, unchanged: dict[str, int]) -> Iterator[Picture]:
        """Yield all pictures, decoded by threads or copied from an older pack."""

        def picture(name: str) -> Picture:
            if old is not None and name in unchanged:
                entry, image = old.entries[unchanged[name]], np.empty(self.shape, np.uint8)
                if isinstance(entry.result, str):
                    return Picture(name, entry.stamp, entry.digest, entry.result)
                if old.read(unchanged[name], image):
                    return Picture(name, entry.stamp, entry.digest, image)
            return _decoded(self.root / name, name, self.preprocessing)

        for done, result in enumerate(in_threads(picture, self.names), 1):
            yield result
            if self.progress:
                self.progress(done, len(self.names), "decoding into the cache")


def cache_folder() -> Path:
    """Return where caches are unless another folder is named: below the user's cache folder."""
    import pooch  # brings the network libraries, which folders do not need

    return Path(pooch.os_cache("striate")) / "decoded"


def decoded_anew(data: ImageData) -> str | None:
    """Return a sentence if the pictures are decoded anew in each epoch, and a cache would help."""
    splits = [split for split in data.splits.values() if isinstance(split, FolderSplit) and split.kept is None]
    if not splits:
        return None
    size = sum(map(len, splits)) * int(np.prod(data.preprocessing.sample_size))
    return (
        f"the decoded pictures take {amount(size)}, too much to be kept in memory: each epoch decodes them anew; "
        "--cache keeps them decoded on disk"
    )


def amount(size: int) -> str:
    """Say a number of bytes: 512 B, 3.4 MiB, 12 GiB."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value >= 1000:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def _existing(path: Path, about: dict[str, Any], note: Callable[[str], None] = lambda text: None) -> Pack | None:
    """Return the pack at `path`; None if it is not there, is damaged or was made otherwise than `about` says."""
    try:
        pack = Pack(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        note(f"the cache {path} is damaged ({error}): it is made anew")
        return None
    except OSError as error:
        raise StriateError(
            f"{path}: the cache cannot be read ({error.strerror or error}): choose another folder for it"
        ) from error
    if pack.about != about:
        note(f"the cache {path} was made by other versions of Striate, Pillow or its libraries: it is made anew")
        return None
    return pack


def _decoded(path: Path, name: str, preprocessing: Preprocessing) -> Picture:
    stamp = digest = None
    with contextlib.suppress(OSError):  # then reading it says what is wrong
        stamp = _times(path)
        if max(stamp[1:]) > time.time_ns() - UNSETTLED:
            stamp = None
    try:
        data = read_picture(path)
        digest = content_digest(data)
        return Picture(name, stamp, digest, decode_image(data, preprocessing))
    except ImageError as error:
        return Picture(name, stamp, digest, error.reason)


def _times(path: Path) -> tuple[int, ...]:
    status = path.stat()
    # the second time is that of any change, also of one that puts the first back (on Windows: of creation)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _same_times(path: Path, entry: Entry) -> bool:
    try:
        return entry.stamp is not None and entry.stamp == _times(path)
    except OSError:
        return False


def _same_content(path: Path, entry: Entry) -> bool:
    try:
        return entry.digest is not None and content_digest(read_picture(path)) == entry.digest
    except ImageError:
        return False


def _result(entry: Entry) -> bytes | str:
    if isinstance(entry.result, str):
        return entry.result
    assert entry.digest is not None  # what was decoded was read
    return entry.digest


def _refuse_to_wait() -> None:
    raise _HeldError


def _remove_parts(path: Path) -> None:
    """Remove what killed makers of a cache have left."""
    for part in path.parent.glob(f".{path.name}.*{PART}"):
        part.unlink(missing_ok=True)
