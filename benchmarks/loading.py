"""How fast pictures get from a folder of JPEGs to the network, beside the usual ImageFolder and DataLoader.

    python benchmarks/loading.py --write docs/performance.md

Writes photograph-like JPEGs, small ones as data sets have them and large ones as cameras make them, into temporary
folders (or takes `--folder`, with a folder per class), then runs each way in processes of its own, in shuffled rounds:
opening the data, two epochs of batches of 64, augmented and standardised as a network takes them. The peer is what
people write: a Dataset that opens, converts, crops at random, resizes, flips and normalises with Pillow, and a
DataLoader with one worker process per core, which stay for all epochs. Striate decodes to a canvas of 128 x 128 and
cuts its windows there. Printed are medians and extremes over the rounds: seconds to the first batch; pictures per
second and processor time per picture in the second epoch, workers included; and the most memory that the process and
its workers held at once (proportional set size: what is shared counts once).
On a busy machine only processor time says much.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CANVAS, SIZE, BATCH = 128, 112, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = {
    "dataloader": "ImageFolder + DataLoader",
    "uncached": "Striate, decoded each epoch",
    "building": "Striate, making the cache",
    "cached": "Striate, from the cache",
    "memory": "Striate, in memory",
}
MEASURES = {
    "first": "s to the first batch",
    "rate": "pictures/s",
    "cpu": "CPU ms a picture",
    "memory": "peak memory, MiB",
}


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a folder with a folder of pictures per class")
    parser.add_argument("--widths", type=int, nargs="+", default=[500, 2000], help="of the pictures to write")
    parser.add_argument("--files", type=int, default=2000, help="how many of 500 x 375, of larger ones fewer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, help="a Markdown file whose section takes the table")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder and not any(options.folder.glob("*/*")):
        parser.error(f"--folder {options.folder}: expected a folder with a folder of pictures per class")
    if options.way:
        print(json.dumps(measure(options.way, options.folder, options.workers)))
        return
    from sections import machine, versions

    reports: list[str] = []
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for width in [0] if options.folder else options.widths:
        with tempfile.TemporaryDirectory() as place:
            count = max(8, options.files * 500 // max(width, 500) // (1 if width <= 500 else 2))
            folder = options.folder or write_photographs(Path(place) / "photos", count, width)
            text, found[f"{width} pixels wide" if width else "folder"] = compare(folder, Path(place), options)
            reports.append(text)
    footer = f"{options.workers} worker processes. {versions('torch', 'pillow')}; {machine()}."
    report = "\n\n".join([*reports, footer])
    print(report)
    if options.write:
        from sections import write_record, write_section

        write_section(options.write, "loading", report)
        write_record(options.write, "loading", {"rounds": found}, "torch", "pillow")


def compare(folder: Path, place: Path, options: argparse.Namespace) -> tuple[str, dict[str, list[dict[str, float]]]]:
    """Run all ways in shuffled rounds and return the table, and what each round found."""
    from sections import markdown_table

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    files = [path for path in folder.glob("*/*") if path.is_file()]
    for number in range(options.rounds):
        for way in random.sample(list(WAYS), len(WAYS)):
            cache = place / ("new" if way == "building" else "cache") / (str(number) if way == "building" else "")
            if way == "cached" and not cache.exists():
                in_a_process("building", folder, cache, options.workers)
            found[way].append(in_a_process(way, folder, cache, options.workers))
            print(f"round {number + 1}, {WAYS[way]}: {found[way][-1]}", file=sys.stderr, flush=True)
    rows = [[name, *(_spread([row[key] for row in found[way]]) for key in MEASURES)] for way, name in WAYS.items()]
    peer, sides = found["dataloader"], ("uncached", "cached", "memory")
    ratios = [
        f"{WAYS[way].removeprefix('Striate, ')} {_ratio(found[way], peer, 'rate')} ({_ratio(peer, found[way], 'cpu')})"
        for way in sides
    ]
    size = statistics.mean(path.stat().st_size for path in files) / 1024
    report = "\n\n".join(
        [
            markdown_table(["way", *MEASURES.values()], rows, right=1),
            "Pictures per second as multiples of the DataLoader's (and pictures per second of processor time), medians "
            f"of the rounds' ratios: {', '.join(ratios)}.",
            f"{len(files):,} files of {_pixels(files[0])} and {size:.0f} KiB, batches of {BATCH}, {SIZE} x {SIZE}; "
            f"medians of {options.rounds} processes (least to most).",
        ]
    )
    return report, found


def in_a_process(way: str, folder: Path, cache: Path, workers: int) -> dict[str, float]:
    """Measure one way in a process of its own, and its memory from outside."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--workers", str(workers)]
    environment = {**os.environ, "LOADING_CACHE": str(cache), "OMP_WAIT_POLICY": "PASSIVE"}  # as `striate` sets it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(map(_held, _family(process.pid))))
            time.sleep(0.05)
        assert process.stdout is not None
        if process.returncode:
            raise SystemExit(f"{way}: the process failed")
        return {**json.loads(process.stdout.read()), "memory": peak / 1024}


def measure(way: str, folder: Path, workers: int) -> dict[str, float]:
    """Open the data and go through two epochs."""
    began = time.perf_counter()
    epoch, first = (people(folder, workers) if way == "dataloader" else striate(way, folder)), 0.0
    for number in range(2):
        started, used, pictures = time.perf_counter(), _used(), 0
        for batch in epoch(number):
            first = first or time.perf_counter() - began
            assert batch.shape[1:] == (3, SIZE, SIZE)
            pictures += len(batch)
        seconds = time.perf_counter() - started
        used = max(_used() - used, 1 / os.sysconf("SC_CLK_TCK"))  # what is less than a tick counts as one
    return {"first": first, "rate": pictures / seconds, "cpu": 1000 * used / pictures}


def striate(way: str, folder: Path) -> Callable[[int], Iterator[Any]]:
    """Return epochs as Striate's training loop has them."""
    from striate.data import Augmentation, Cache, DataOptions, augment, batches, open_data, shuffled

    options = DataOptions(3, (CANVAS, CANVAS), "stretch", 0, MEAN, STD, (SIZE, SIZE), 0.001, 0.001)
    changes = Augmentation(area=(0.08, 1.0), aspect=4 / 3, flip=0.5)
    cache = Cache(Path(os.environ["LOADING_CACHE"])) if way in {"cached", "building"} else None
    limit = 1 << 40 if way == "memory" else 0
    data = open_data(folder, options, seed=0, cache=cache, memory_limit=limit)
    split, preprocessing = data.splits["train"], data.preprocessing

    def epoch(number: int) -> Iterator[Any]:
        for indices, images, _ in batches(split, shuffled(0, number, split.keys), BATCH):
            canvas = preprocessing.canvas(images)
            keys = split.keys[indices]
            canvas = augment(canvas, keys, seed=0, epoch=number, options=changes, size=(SIZE, SIZE))
            yield preprocessing.standardize(canvas)

    return epoch


def people(folder: Path, workers: int) -> Callable[[int], Iterator[Any]]:
    """Return epochs as most PyTorch programs have them."""
    import torch
    from torch.utils.data import DataLoader

    # spawned workers import this file as a module of its own, forked ones (the usual way on Linux) need not
    loader = DataLoader(ImageFolder(folder), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def epoch(number: int) -> Iterator[Any]:
        torch.manual_seed(number)
        for images, _ in loader:
            yield images

    return epoch


class ImageFolder:
    """torchvision's ImageFolder with RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize, in Pillow."""

    def __init__(self, folder: Path) -> None:
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self.samples = [(path, k) for k, name in enumerate(classes) for path in sorted((folder / name).iterdir())]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        import torch
        from PIL import Image

        path, label = self.samples[index]
        with path.open("rb") as file:
            image = Image.open(file).convert("RGB")
        image = image.crop(self.box(*image.size)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return (tensor - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), label

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return a window of 8 to 100 per cent of the picture, up to 4/3 times wider than high or the reverse."""
        for _ in range(10):
            area = width * height * random.uniform(0.08, 1.0)
            ratio = float(np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3))))
            wide, tall = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if wide <= width and tall <= height:
                left, top = random.randint(0, width - wide), random.randint(0, height - tall)
                return left, top, left + wide, top + tall
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2


def write_photographs(root: Path, count: int, width: int) -> Path:
    """Write JPEGs with detail of every size, about as much as photographs have, into two class folders."""
    from PIL import Image

    different = [photograph(k, width) for k in range(min(count, 40))]
    for k in range(count):
        path = root / f"class-{k % 2}" / f"{k:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(different[k % 40], k, axis=1)).save(path, quality=90)
    return root


def photograph(seed: int, width: int) -> NDArray[np.uint8]:
    """Return a picture H x W x 3 with detail of every size, another one for each seed."""
    from PIL import Image

    generator, height = np.random.default_rng(seed), width * 3 // 4
    total = np.zeros((height, width, 3), np.float32)
    for cells in (*(4 << k for k in range(20) if 4 << k < width), width):
        noise = generator.standard_normal((cells * 3 // 4, cells, 3), dtype=np.float32)
        for c in range(3):
            grown = Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC)
            total[..., c] += np.asarray(grown) / cells**0.6
    total = (total - total.mean()) / total.std() * 55 + 120
    pixels: NDArray[np.uint8] = total.clip(0, 255).astype(np.uint8)
    return pixels


def _pixels(file: Path) -> str:
    from PIL import Image

    with Image.open(file) as image:
        return f"{image.width} x {image.height}"


def _ratio(over: list[dict[str, float]], under: list[dict[str, float]], key: str) -> str:
    return f"{statistics.median(a[key] / b[key] for a, b in zip(over, under, strict=True)):.1f}"


def _used() -> float:
    """Return the seconds of processor time that this process and its workers have taken."""
    ticks = 0
    for process in _family(os.getpid()):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _spread(values: list[float]) -> str:
    digits = 0 if statistics.median(values) >= 100 else 1 if statistics.median(values) >= 10 else 2
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _family(process: int) -> list[int]:
    """Return a process and all below it."""
    try:
        threads = Path(f"/proc/{process}/task").iterdir()
        text = " ".join((thread / "children").read_text() for thread in threads)
    except OSError:
        return []
    return [process, *(each for child in text.split() for each in _family(int(child)))]


def _held(process: int) -> int:
    """Return the proportional set size in KiB."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
