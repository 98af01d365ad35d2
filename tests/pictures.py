"""Small data sets on disk for the tests."""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def write_photos(root: Path, *, per_class: int = 12, size: tuple[int, int] = (20, 24)) -> None:
    """Two class folders, dark/ and light/, of noisy pictures that can be told apart."""
    generator = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (root / name).mkdir(parents=True)
        for k in range(per_class):
            pixels = (shade + generator.integers(-30, 30, (*size, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")


def write_idx(path: Path, array: npt.ArrayLike, *, magic: int | None = None, cut: int = 0) -> None:
    """Write a gzipped IDX file of uint8, with another magic number or some bytes short if asked."""
    values = np.asarray(array)
    header = struct.pack(">I", 0x0800 + values.ndim if magic is None else magic)
    data = header + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data[: len(data) - cut]))
