"""The IDX files of MNIST and the sets made in its likeness: a big-endian header, then bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from striate.data._decode import fit_arrays
from striate.data._preprocessing import Preprocessing
from striate.data._splits import ArraySplit
from striate.errors import InputError

_LIMIT = 1 << 30  # bytes; a header that announces more is wrong, and must not be given the memory


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with `rank` axes, with or without gzip; raises InputError naming the file."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _parse(file, path, rank)
            with gzip.open(file) as unpacked:
                return _parse(unpacked, path, rank)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the compressed file is damaged or incomplete ({error}): get it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): allow reading it") from error


def read_mnist(
    images_path: Path, labels_path: Path, prefix: str, classes: int, preprocessing: Preprocessing
) -> ArraySplit:
    """Return the images of an MNIST-like pair of files; ids are `prefix`/00000 on, in the order of the file."""
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        found = " x ".join(str(side) for side in images.shape[1:])
        raise InputError(f"{images_path}: expected images of 28 x 28, found {found}: not a file of this set")
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path.name}, "
            f"found {len(labels)}"
        )
    require_labels(labels, classes, labels_path)
    ids = [f"{prefix}/{k:05}" for k in range(len(images))]
    return ArraySplit(ids, labels, fit_arrays(images[:, None], preprocessing))


def require_labels(labels: NDArray[np.uint8], classes: int, path: Path | str) -> None:
    """Raise InputError unless there are labels and all are below `classes`."""
    if not len(labels):
        raise InputError(f"{path}: expected labelled images, found none")
    if labels.max() >= classes:
        k = int(np.argmax(labels >= classes))
        raise InputError(f"{path}: expected labels from 0 to {classes - 1}, found {labels[k]} at position {k}")


def _parse(file: IO[bytes] | gzip.GzipFile, path: Path, rank: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * rank)
    magic = bytes((0, 0, 8, rank))  # 8: unsigned bytes
    if header[:4] != magic:
        raise InputError(
            f"{path}: not an IDX file of this kind: it must begin with {magic.hex()}, found {header[:4].hex()!r}"
        )
    if len(header) < 4 + 4 * rank:
        raise InputError(f"{path}: the file ends within its header, after {len(header)} bytes: get it again")
    shape = struct.unpack(f">{rank}I", header[4:])
    size = math.prod(shape)
    if size > _LIMIT:
        raise InputError(f"{path}: the header announces {size:,} bytes, more than any set of this kind: get it again")
    data = file.read(size + 1)
    if len(data) != size:
        found = f"only {len(data):,}" if len(data) < size else "more"
        raise InputError(f"{path}: the header announces {size:,} bytes of data, the file has {found}: get it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
