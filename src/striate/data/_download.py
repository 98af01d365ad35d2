"""Fetching published files: several mirrors, resumed where a transfer broke off, used only when the checksum agrees."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pooch
import requests
import urllib3

from striate import files
from striate.data._catalog import KnownSet, RemoteFile
from striate.data._dataset import Progress
from striate.errors import InputError, StriateError

TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of data
ATTEMPTS = 5  # connections per mirror, as long as each brings the transfer further
_CHUNK = 1 << 16


class _MirrorError(Exception):
    """One mirror did not deliver; the message says why."""


def locate(known: KnownSet, data_root: Path | None = None, *, progress: Progress | None = None) -> list[Path]:
    """Return the paths of a known set's files, in the catalog's order.

    With `data_root` they are looked for there, directly or in a folder named as the set, unpacked (without .gz) or not,
    and nothing is downloaded. Without, they are taken from the user's cache folder and downloaded where missing.
    Raises InputError naming what is not there, StriateError if no mirror delivers.
    """
    if data_root is None:
        folder = Path(pooch.os_cache("striate")) / known.name
        return [fetch(file, known.mirrors, folder, progress=progress) for file in known.files]
    if not data_root.is_dir():
        raise InputError(f"data folder {data_root}: expected an existing folder with the files of {known.name}")
    folders = [data_root, *(data_root / name for name in known.folders)]
    return [_find(file.name, folders, known) for file in known.files]


def fetch(file: RemoteFile, mirrors: Sequence[str], folder: Path, *, progress: Progress | None = None) -> Path:
    """Return `folder/file.name`; unless it is there, download it from the first mirror that delivers its very content.

    What a broken transfer left is kept beside it and continued by the next call. `progress` gets (bytes so far, bytes
    of the file, its name). Two processes may ask for the same file: one fetches, the other waits.
    Raises StriateError with each mirror's reason and where to put the file by hand.
    """
    target, part = folder / file.name, folder / f".{file.name}{files.PART}"
    if _is_whole(target, file):
        return target
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(part) as stream:
            if _is_whole(target, file):  # another process was faster
                return target
            for mirror in mirrors:
                try:
                    _download(f"{mirror.rstrip('/')}/{file.name}", file, stream, progress)
                except _MirrorError as error:
                    reasons.append(f"{mirror}: {error}")
                    continue
                os.fsync(stream.fileno())
                part.replace(target)
                return target
    except OSError as error:
        raise StriateError(
            f"{target} cannot be written ({error.strerror or error}): free space or allow writing"
        ) from error
    raise StriateError(
        f"{file.name} could not be downloaded ({'; '.join(reasons)}): check the network and try again, or put the file "
        f"into {folder} by hand"
    )


def _find(name: str, folders: Sequence[Path], known: KnownSet) -> Path:
    names = [name, name.removesuffix(".gz")]
    names.append(names[1].replace("-idx", ".idx"))  # as some tools unpack it
    for folder in folders:
        for path in (folder / each for each in names):
            if path.is_file():
                return path
    raise InputError(
        f"{known.name}: {name} is not in {folders[0]}, nor in a folder {known.folders[0]} there: put it "
        "there, or leave the data folder out to have it downloaded"
    )


def _is_whole(target: Path, file: RemoteFile) -> bool:
    # It got its name only after its checksum was found right, or by hand: the size is enough to see a broken copy.
    return target.is_file() and target.stat().st_size == file.size


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """Open the unfinished file for appending, alone where the system has file locks."""
    while True:
        with part.open("a+b") as stream:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_at(stream, part):
                continue  # it was finished and renamed while we waited for it
            try:
                yield stream
            finally:
                if not _length(stream):
                    part.unlink(missing_ok=True)
            return


def _is_at(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _download(url: str, file: RemoteFile, stream: IO[bytes], progress: Progress | None) -> None:
    """Complete `stream` from one mirror and check it; a wrong content is thrown away."""
    resumed = _length(stream) > 0
    for _ in range(ATTEMPTS):
        before = _length(stream)
        try:
            if before < file.size:
                _transfer(url, file, stream, progress)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if _length(stream) > before:
                continue  # it brought something: go on from there
            raise _MirrorError(_short(error)) from error
        if _length(stream) == file.size:
            break
    if (length := _length(stream)) < file.size:
        raise _MirrorError(f"the transfer broke off at {length:,} of {file.size:,} bytes")
    found = _sha256(stream)
    if found != file.sha256:
        stream.truncate(0)
        if resumed:  # the old part may be what is wrong
            _download(url, file, stream, progress)
            return
        raise _MirrorError(f"not the published content (SHA-256 {found[:12]}... instead of {file.sha256[:12]}...)")


def _transfer(url: str, file: RemoteFile, stream: IO[bytes], progress: Progress | None) -> None:
    """Append what the server sends; from the beginning if it does not continue where we ask it to."""
    start = _length(stream)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code not in {200, 206}:
            raise _MirrorError(f"HTTP status {response.status_code} {response.reason}".rstrip())
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            stream.truncate(0)
            start = 0
        done = start
        # raw: a server may label a .gz file as an encoding of the transfer, which must not be undone
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            done += len(chunk)
            if done > file.size:
                stream.truncate(0)
                raise _MirrorError(f"it sends more than the published {file.size:,} bytes")
            stream.write(chunk)
            if progress:
                progress(done, file.size, file.name)


def _length(stream: IO[bytes]) -> int:
    return stream.seek(0, os.SEEK_END)


def _sha256(stream: IO[bytes]) -> str:
    stream.seek(0)
    whole = hashlib.sha256()
    while piece := stream.read(1 << 20):
        whole.update(piece)
    return whole.hexdigest()


def _short(error: Exception) -> str:
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"the transfer failed: {type(error).__name__}"
