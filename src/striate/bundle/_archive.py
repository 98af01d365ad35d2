"""The container of a bundle: a ZIP of stored parts in which no byte can change unnoticed (docs/bundle.md)."""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from striate.errors import InputError
from striate.files import replacing

FORMAT = "striate-bundle"
VERSION = 1
MANIFEST = "manifest.json"

_DIGITS = 64  # the file ends with so many hexadecimal digits: the SHA-256 of all bytes before them
_MARK = b"striate-bundle sha256 "  # comes before them; the two are the comment of the ZIP file
_START = b"PK\x03\x04"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same bytes
_AGAIN = "copy or download it again"


def write_archive(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write named parts to `path` atomically, with a manifest of their checksums and the seal of the whole file."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "parts": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()
        },
    }
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = _MARK + b"0" * _DIGITS
            for name, data in {MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode(), **parts}.items():
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is written
                archive.writestr(entry, data)
        with temporary.open("r+b") as file:
            digest = _digest(file, temporary.stat().st_size - _DIGITS)
            file.write(digest)  # reading has stopped where the digits begin


def is_archive(path: Path) -> bool:
    """Whether a file begins or ends as `write_archive` writes it; raises InputError if it cannot be read."""
    with _opened(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        starts = file.read(30 + len(MANIFEST)).endswith(MANIFEST.encode())
        file.seek(max(0, size - _DIGITS - len(_MARK)))
        return starts or file.read().startswith(_MARK)


def read_archive(path: Path, names: frozenset[str]) -> dict[str, bytes]:
    """Read the parts `names` of the bundle at `path`; raises InputError unless it is whole and has exactly those."""
    with _opened(path) as file:
        size = _check_seal(path, file)
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_parts(path, archive, size, names)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, UnicodeError) as error:
            raise InputError(f"{path}: the bundle is not well-formed ({error}); {_AGAIN}") from error


def parse_json(path: Path, name: str, data: bytes) -> Any:
    """Decode a JSON part; raises InputError that names it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the bundle's {name} is not valid JSON ({error}); {_AGAIN}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the bundle in it, a file that ends in .striate")
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give the path of a bundle, a file that ends in .striate") from error
    except OSError as error:
        raise InputError(f"{path}: the bundle cannot be read ({error.strerror or error})") from error


def _check_seal(path: Path, file: BinaryIO) -> int:
    size = file.seek(0, 2)
    if size == 0:
        raise InputError(f"{path}: the file is empty, not a Striate bundle; {_AGAIN}")
    file.seek(0)
    start = file.read(30 + len(MANIFEST))
    file.seek(max(0, size - _DIGITS - len(_MARK)))
    end = file.read()
    sealed = end[:-_DIGITS] == _MARK
    if not sealed and not (start.startswith(_START) and start.endswith(MANIFEST.encode())):
        raise InputError(f"{path}: not a Striate bundle; give a file that `striate train` or `bundle.save` has written")
    if not sealed or _digest(file, size - _DIGITS) != end[-_DIGITS:]:
        raise InputError(
            f"{path}: the bundle is damaged, it is not the file that was written (checksum of {size:,} bytes); {_AGAIN}"
        )
    return size


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first `size` bytes in hexadecimal digits; leaves the file at their end."""
    file.seek(0)
    digest, left = hashlib.sha256(), size
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def _read_parts(path: Path, archive: zipfile.ZipFile, size: int, names: frozenset[str]) -> dict[str, bytes]:
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST:
        raise InputError(f"{path}: the bundle has no {MANIFEST}; {_AGAIN}")
    _require_stored(path, entries[:1], size)
    listed = _listed_parts(path, archive.read(entries[0]))  # its version comes before all that another may do otherwise
    _require_stored(path, entries, size)
    _same(path, "has no", set(listed) | names, {entry.filename for entry in entries[1:]})
    _same(path, "has an unknown part", [entry.filename for entry in entries[1:]], set(listed) & names)
    if len(entries) != len(names) + 1:
        raise InputError(f"{path}: the bundle has a part twice; {_AGAIN}")
    parts = {entry.filename: archive.read(entry) for entry in entries[1:]}
    for name, data in parts.items():
        if listed[name] != hashlib.sha256(data).hexdigest():
            raise InputError(f"{path}: the bundle's {name} is not the one its {MANIFEST} lists; {_AGAIN}")
    return parts


def _require_stored(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise InputError(f"{path}: a bundle's parts are stored, not compressed; do not repack it, {_AGAIN}")
    if sum(entry.file_size for entry in entries) > size:
        raise InputError(f"{path}: the bundle claims parts larger than itself; {_AGAIN}")


def _listed_parts(path: Path, data: bytes) -> dict[str, str]:
    manifest = parse_json(path, MANIFEST, data)
    try:
        name, version = manifest["format"], manifest["version"]
        if name == FORMAT and isinstance(version, int) and version > VERSION:
            raise InputError(
                f"{path}: the bundle needs a newer Striate (it has format version {version}, this one reads up to "
                f"{VERSION}); upgrade with: pip install --upgrade striate"
            )
        if name != FORMAT or version != VERSION:
            raise InputError(f"{path}: not a Striate bundle (format {name!r}, version {version!r})")
        return {part: entry["sha256"] for part, entry in manifest["parts"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the bundle's {MANIFEST} is not understood ({error!r}); {_AGAIN}") from error


def _same(path: Path, what: str, wanted: "set[str] | list[str]", there: set[str]) -> None:
    lacking = sorted(set(wanted) - there)
    if lacking:
        raise InputError(f"{path}: the bundle {what} {lacking[0]}; {_AGAIN}")
