"""Does memory grow over a long run? Tens of thousands of batches through the loader and the training step.

    python benchmarks/long_run_memory.py --minutes 5

Writes a folder of small JPEGs and reads epoch after epoch of it as training does, without a cache, from a cache and
from memory, with the augmentation of photographs and steps of a small network (--load-only: without these two, so that
there are many more batches), each way in a process of its own. Prints the resident memory after the first tenth of the
time and at its end, and the growth per thousand batches between them by least squares over all readings (one a second).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("uncached", "cached", "memory")


def main() -> None:
    """Read the options and print a line for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="for each way")
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--load-only", action="store_true", help="neither augment nor train")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(watch(options)))
        return
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "photos", options.files)
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", place]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            print(
                f"{way:<9} {found['batches']:>8,} batches of {options.batch}: {found['first']:.1f} MiB after a tenth, "
                f"{found['last']:.1f} MiB at the end, {found['slope']:+.3f} MiB per 1,000 batches",
                flush=True,
            )


def watch(options: argparse.Namespace) -> dict[str, float]:
    """Train for some minutes and note the resident memory once a second."""
    import torch

    from striate.data import Augmentation, Cache, DataOptions, augment, batches, open_data, shuffled
    from striate.models import build

    chosen = DataOptions(3, (40, 40), "stretch", 0, (0.5,), (0.25,), (32, 32), 0.01, 0.01)
    changes = Augmentation(area=(0.08, 1.0), aspect=4 / 3, flip=0.5, randaugment=2, brightness=0.2, erase=0.25)
    cache = Cache(options.folder / "cache") if options.way == "cached" else None
    limit = 1 << 40 if options.way == "memory" else 0
    data = open_data(options.folder / "photos", chosen, seed=0, cache=cache, memory_limit=limit)
    split, preprocessing = data.splits["train"], data.preprocessing
    model = build("convnet", classes=2, channels=3, size=(32, 32), blocks=[[1, 4, 1]])
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    began, epoch, done, readings = time.monotonic(), 0, 0, []
    while (passed := time.monotonic() - began) < 60 * options.minutes:
        for indices, images, labels in batches(split, shuffled(0, epoch, split.keys), options.batch):
            done += 1
            if options.load_only:
                continue
            canvas = preprocessing.canvas(images)
            canvas = augment(canvas, split.keys[indices], seed=0, epoch=epoch, options=changes, size=(32, 32))
            loss = torch.nn.functional.cross_entropy(model(preprocessing.standardize(canvas)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        epoch += 1
        if not readings or passed - readings[-1][0] >= 1:
            readings.append((passed, done, resident()))
    late = np.asarray([reading for reading in readings if reading[0] >= 6 * options.minutes])
    slope = np.polyfit(late[:, 1], late[:, 2], 1)[0] * 1000 if len(late) > 1 else float("nan")
    return {"batches": done, "first": late[0, 2], "last": late[-1, 2], "slope": slope}


def resident() -> float:
    """Return this process's resident memory in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def write(root: Path, count: int) -> None:
    """Write small noisy JPEGs into two class folders."""
    from PIL import Image

    for k in range(count):
        path = root / f"class-{k % 2}" / f"{k:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
