"""Shards for the tests: tar files made of named bytes, or of small pictures in two classes."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Files = Sequence[tuple[str, bytes]]


def png(seed: int, shade: int = 128) -> bytes:
    """A PNG of 9 x 11 pixels of noise around a shade."""
    noise = np.random.default_rng(seed).integers(-40, 40, (9, 11, 3))
    memory = io.BytesIO()
    Image.fromarray((shade + noise).astype(np.uint8)).save(memory, "PNG")
    return memory.getvalue()


def tar(files: Files) -> bytes:
    """A tar file with these files in their order."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return memory.getvalue()


def samples(seed: int, count: int, labels: Sequence[str] = ("dark", "light")) -> list[tuple[str, bytes]]:
    """The files of so many samples, the classes in turns: dark pictures and light ones."""
    files = []
    for k in range(count):
        key = f"{seed:03d}{k:05d}"
        files += [
            (f"{key}.png", png(1000 * seed + k, 60 if k % 2 == 0 else 190)),
            (f"{key}.cls", labels[k % 2].encode()),
        ]
    return files


def write_shards(root: Path, counts: dict[str, Sequence[int]]) -> Path:
    """Write shards of so many samples each, by split: {"train": [6, 4]} makes train-000000.tar and train-000001.tar."""
    root.mkdir(parents=True, exist_ok=True)
    seed = 0
    for part, sizes in counts.items():
        for k, count in enumerate(sizes):
            (root / f"{part}-{k:06d}.tar").write_bytes(tar(samples(seed, count)))
            seed += 1
    return root
