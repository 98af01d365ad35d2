"""From a folder of pictures to shards."""

import io
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from striate.data._catalog import KNOWN
from striate.data._dataset import ImageData, Progress
from striate.data._decode import opened, read_picture
from striate.data._opening import open_data
from striate.data._options import DataOptions
from striate.data._randomness import shuffled
from striate.data._splits import ImageSplit, Indices
from striate.data.sources.layout import PARTS
from striate.data.sources.shard_files import is_shards
from striate.errors import InputError, StriateError
from striate.files import PART, replacing, write_text

SHARD_BYTES = 256_000_000
_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "PPM": "ppm"}


class Written(NamedTuple):
    """What was written of a split: samples, shards, bytes."""

    samples: int
    shards: int
    bytes: int


def write_shards(
    root: str | Path,
    out: Path,
    *,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    options: DataOptions | None = None,
    progress: Progress | None = None,
) -> tuple[ImageData, dict[str, Written]]:
    """Write a folder of pictures as shards of about so many bytes into a new folder `out`, and what each split got.

    The splits are those that training on the folder with `seed` and `options` would use. Files keep their bytes; a key
    is the file's path without its ending, .cls the number of its class, classes.txt the classes' names. Samples come in
    a shuffled order, so that each shard holds all classes. The folder appears when it is whole. Raises InputError for a
    bad folder or an `out` that is not empty, StriateError if it cannot be written.
    """
    if str(root) in KNOWN or is_shards(root):
        raise InputError(f"{root}: expected a folder of pictures, a folder for each class")
    if shard_bytes < 1:
        raise InputError(f"shards: a shard needs at least 1 byte, got {shard_bytes}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is already there; choose a new folder for the shards")
    # every picture is decoded once, the smaller the faster
    data = open_data(
        root, options or DataOptions(channels=3, size=(32, 32)), seed=seed, progress=progress, memory_limit=0
    )
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}{PART}")
    total, done = sum(map(len, data.splits.values())), 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, "writing shards")

    try:
        written = {
            name: _write_split(Path(root), part / name, split, shuffled(seed, 0, split.keys), shard_bytes, tell)
            for name, split in data.splits.items()
        }
        write_text(part / "classes.txt", "".join(f"{label}\n" for label in data.classes))
        part.replace(out)
    except OSError as error:
        raise StriateError(f"{out}: could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return data, written


def _write_split(
    root: Path, start: Path, split: ImageSplit, order: Indices, shard_bytes: int, tell: Callable[[], None]
) -> Written:
    """Write START-000000.tar and so on."""
    keys, size, count = _keys(split.ids), 0, 0
    for rows in _shards(root, split, order, shard_bytes):
        path = start.with_name(f"{start.name}-{count:06d}.tar")
        with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            for row in rows:
                content = read_picture(root / split.ids[row])
                with opened(content, str(root / split.ids[row])) as image:
                    ending = _ENDINGS[str(image.format)]
                _add(archive, f"{keys[row]}.{ending}", content)
                _add(archive, f"{keys[row]}.cls", str(int(split.labels[row])).encode())
                tell()
        size, count = size + path.stat().st_size, count + 1
    return Written(len(split), count, size)


def _shards(root: Path, split: ImageSplit, order: Indices, shard_bytes: int) -> Iterator[list[int]]:
    """Divide the samples into shards that are full when they have reached the size."""
    rows: list[int] = []
    size = 0
    for row in order.tolist():
        rows.append(row)
        size += (root / split.ids[row]).stat().st_size
        if size >= shard_bytes:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _keys(ids: Sequence[str]) -> list[str]:
    """Return a key for each path: without split and ending, dots and doubles made distinct."""
    seen: set[str] = set()
    keys = []
    for name in ids:
        first, _, rest = name.partition("/")
        path = Path(rest if first in PARTS and "/" in rest else name)
        stem = path.stem.replace(".", "_")
        plain = key = (path.parent / stem).as_posix()
        number = 2
        while key in seen:
            key, number = f"{plain}-{number}", number + 1
        seen.add(key)
        keys.append(key)
    return keys


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no time and no owner: the same folder makes the same bytes
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
