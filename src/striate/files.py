"""Files that are whole or not there: atomic writing."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from striate.errors import InputError, StriateError

PART = ".part"  # the ending of temporary files: what a killed process leaves behind is known by it
_AGAIN = 0.1  # seconds between two looks at a lock


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure it is removed.

    A reader sees the old file or the new one, never a part: temporary file, fsync, rename, fsync of the folder.
    Raises StriateError with one sentence when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StriateError(_explain(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock file `path` in the block, after whoever holds it; `waiting` is called once if somebody does.

    Yields whether it is held: not where the system or the file system has no such locks. A process that is killed holds
    nothing any more; the file itself stays. Raises StriateError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise StriateError(_explain(path, error)) from error
    with file:
        told = False
        while (held := _try_lock(file.fileno())) is None:
            if not told:
                waiting()
                told = True
            time.sleep(_AGAIN)  # rather than in the system, where Ctrl-C would not be heard
        yield held


def _try_lock(file: int) -> bool | None:
    """Return True if the lock is ours now, None if it is another's, False where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:  # a file system without locks
        return False
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, text: str) -> None:
    """Add a line of UTF-8 text to the end of `path` and sync it; what is there stays as it is."""
    try:
        with path.open("ab") as file:
            file.write(f"{text}\n".encode())  # one write: lines of several processes do not mix
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StriateError(_explain(path, error)) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file with one per line; none if there is no file. What is damaged is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [value for value in found if isinstance(value, dict)]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content; raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some file systems cannot sync a folder: the rename itself is still atomic there
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(handle)


def _explain(path: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"no space left while writing {path}: free some space and try again; what was there before is untouched"
    if error.errno == errno.EFBIG:
        return f"{path} would be larger than a file may be here: raise the limit (ulimit -f) or choose another disk"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{path} cannot be written ({error.strerror}): choose a folder that you may write to"
    return f"{path} could not be written: {error.strerror or error}"
