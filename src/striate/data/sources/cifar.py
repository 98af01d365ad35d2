"""The binary version of CIFAR-10: records of one label byte and 3 x 32 x 32 pixel bytes."""

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from striate.data._decode import fit_arrays
from striate.data._preprocessing import Preprocessing
from striate.data._splits import ArraySplit
from striate.data.sources.idx import require_labels
from striate.errors import InputError

TRAIN = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST = ("test_batch.bin",)

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_LIMIT = 1 << 28  # bytes per file; the official ones have 30,730,000


def read_cifar10(place: Path, preprocessing: Preprocessing) -> tuple[ArraySplit, ArraySplit]:
    """Return the training and the test images from a folder of batch files or from the official archive.

    The archive is read member by member and never unpacked to disk. Raises InputError naming the file that is wrong.
    """
    contents = _from_folder(place) if place.is_dir() else _from_archive(place)
    return _join(contents, place, TRAIN, "train", preprocessing), _join(contents, place, TEST, "test", preprocessing)


def _join(
    contents: dict[str, bytes], place: Path, names: Sequence[str], prefix: str, preprocessing: Preprocessing
) -> ArraySplit:
    tables = []
    for name in names:
        data = contents[name]
        if not data or len(data) % _RECORD:
            raise InputError(
                f"{place / name}: expected records of {_RECORD:,} bytes, found {len(data):,} bytes: get it again"
            )
        tables.append(np.frombuffer(data, np.uint8).reshape(-1, _RECORD))
        require_labels(tables[-1][:, 0], 10, place / name)
    table = np.concatenate(tables)
    images = np.ascontiguousarray(table[:, 1:]).reshape(-1, *_SHAPE)
    return ArraySplit([f"{prefix}/{k:05}" for k in range(len(table))], table[:, 0], fit_arrays(images, preprocessing))


def _from_folder(folder: Path) -> dict[str, bytes]:
    contents = {}
    for name in (*TRAIN, *TEST):
        try:
            with (folder / name).open("rb") as file:
                contents[name] = file.read(_LIMIT)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{folder / name} cannot be read ({reason}): all six batch files are needed") from error
    return contents


def _from_archive(archive: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|*") as members:  # a stream: each byte is unpacked once
            for member in members:
                name = Path(member.name).name
                file = members.extractfile(member) if member.isfile() and name in {*TRAIN, *TEST} else None
                if file is not None:
                    contents[name] = file.read(_LIMIT)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{archive}: the archive is damaged or incomplete ({error}): get it again") from error
    for name in (*TRAIN, *TEST):
        if name not in contents:
            raise InputError(f"{archive}: expected {name} in the archive, found none: it must be the binary version")
    return contents
