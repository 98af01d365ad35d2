"""Where shards lie: a folder of this machine, or whatever else fsspec reaches."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from striate.errors import InputError

# What file systems say of a file that changes with its content; each says some of it.
_STAMPS: tuple[str, ...] = ("size", "mtime", "created", "updated", "generation")
_STAMPS += ("ETag", "etag", "LastModified", "Last-Modified", "Content-MD5")


@dataclass(frozen=True)
class Range:
    """Bytes of a shard: its name, where they begin, how many there are."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class ShardStore:
    """Shards by their names below one root; `system` is a file system of fsspec."""

    system: Any
    root: str

    def path(self, name: str) -> str:
        """Return a shard's full path, as the file system has it."""
        return f"{self.root.rstrip('/')}/{name}" if self.root else name

    def address(self, name: str) -> str:
        """Return a shard's full address, which means the same wherever it is asked for."""
        return str(self.system.unstrip_protocol(self.path(name)))

    def open(self, name: str) -> "Reading":
        """Open a file from its beginning; raises InputError, as does what is done with it."""
        return Reading(self.path(name), self._ask(name, lambda path: self.system.open(path, "rb")))

    def stamp(self, name: str) -> dict[str, str]:
        """Return what tells one content of a shard from another without reading it, "size" always; InputError."""
        known = self._ask(name, self.system.info, "no such shard: copy it again, or name those that are there")
        if known.get("type") == "directory":
            raise InputError(f"{self.path(name)}: is a folder, expected a shard, a .tar file")
        if known.get("size") is None:
            raise InputError(
                f"{self.path(name)}: the server does not say how large the file is: copy it to a disk first"
            )
        return {key: str(known[key]) for key in _STAMPS if known.get(key) is not None}

    def text(self, name: str) -> str | None:
        """Return the content of a text file, None if there is no such file; raises InputError."""
        if not self._ask(name, self.system.exists):
            return None
        with self.open(name) as file:
            data = file.read()
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path(name)}: expected UTF-8 text ({error})") from error

    def listing(self, folder: str = "") -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the files in a folder, sorted, hidden ones left out; InputError."""
        found = self._ask(folder, lambda path: self.system.ls(path.rstrip("/"), detail=True))
        rows = [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"] == "directory") for entry in found]
        seen = sorted(row for row in rows if row[0] and not row[0].startswith("."))
        return [name for name, is_folder in seen if is_folder], [name for name, is_folder in seen if not is_folder]

    def read(self, ranges: Sequence[Range]) -> list[bytes | Exception]:
        """Return the bytes of each range, or what went wrong; remote ones are asked for together."""
        paths, starts = [self.path(r.name) for r in ranges], [r.start for r in ranges]
        ends = [r.start + r.size for r in ranges]
        found: list[bytes | Exception] = self.system.cat_ranges(paths, starts, ends, on_error="return")
        return found

    def _ask(self, name: str, question: Callable[[str], Any], missing: str = "no such file or folder") -> Any:
        path = self.path(name) if name else self.root
        with _reading(path, missing):
            return question(path)


class Reading(io.RawIOBase):
    """A file of a store, read and sought in; what goes wrong is an InputError that names it."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        super().__init__()
        self.path, self.file = path, file

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes: fewer than `size` only at the end."""
        with _reading(self.path):
            return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        with _reading(self.path):
            return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self.file.tell()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        super().close()


@contextmanager
def _reading(path: str, missing: str = "it has gone: put it back") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        cause = f" ({_reason(error.__cause__)})" if error.__cause__ is not None else ""  # such as no connection
        raise InputError(f"{path}: {missing}{cause}") from error
    except MemoryError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error


def is_url(where: str) -> bool:
    """Whether a place is an address for fsspec, such as https://..., s3://... or simplecache::https://..., no path."""
    return "://" in where or "::" in where


def store_at(where: str) -> ShardStore:
    """Return the store whose root is a folder's path or address; raises InputError for an unknown protocol."""
    import fsspec

    try:
        if not is_url(where):
            return ShardStore(fsspec.filesystem("file"), where)
        system, root = fsspec.core.url_to_fs(where)
    except (ImportError, ValueError) as error:  # the protocol's library is missing, or there is no such protocol
        advice = "; install it with: pip install 'striate[http]'" if "aiohttp" in str(error) else ""
        raise InputError(f"{where}: cannot be opened ({_reason(error)}){advice}") from error
    return ShardStore(system, root)


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return re.sub(r"\s+", " ", str(strerror or error) or type(error).__name__)
