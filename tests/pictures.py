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


def write_scenes(
    root: Path, *, count: int = 12, size: tuple[int, int] = (32, 40), seed: int = 0, void: bool = True
) -> None:
    """Squares (label 1) and discs (label 2) on noise (label 0), with masks whose frame of one pixel is void, 255."""
    generator = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    y, x = np.mgrid[: size[0], : size[1]]
    for k in range(count):
        labels = np.zeros(size, np.uint8)
        side = min(size) // 3
        top, left = generator.integers(0, size[0] - side), generator.integers(0, size[1] // 2 - side // 2)
        labels[top : top + side, left : left + side] = 1
        centre, right = generator.integers(side, size[0] - side), generator.integers(size[1] // 2 + side, size[1])
        labels[(y - centre) ** 2 + (x - right) ** 2 <= (side * 0.6) ** 2] = 2
        colours = np.array([[60, 60, 60], [200, 80, 60], [60, 120, 220]])[labels]
        picture = (colours + generator.integers(-40, 36, (*size, 3))).clip(0, 255).astype(np.uint8)
        if void:
            labels[[0, -1]] = labels[:, [0, -1]] = 255
        Image.fromarray(picture).save(root / "images" / f"{k}.png")
        Image.fromarray(labels).save(root / "masks" / f"{k}.png")
