"""How long `striate doctor` takes for many pictures, and how much memory.

    python benchmarks/doctor.py --files 100000

Writes photograph-like JPEGs into class folders, all different, plants faults among them, and runs the command in a
process of its own for a third, two thirds and all of them: whole files are read, decoded and compared with each other.
Printed are wall and processor time, the most memory of the process, and whether each planted fault was found. Memory
should hardly grow with the number of files. Written for Linux and macOS.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from loading import photograph
from PIL import Image
from sections import machine, markdown_table, versions

CLASSES, WIDTH, AT_ONCE = 10, 160, 500


class Examined(NamedTuple):
    """What examining a folder took."""

    files: int
    seconds: float
    cpu: float
    mib: float
    missed: list[str]

    def row(self) -> list[str]:
        """Return the cells of the table."""
        found = "all found" if not self.missed else f"missed: {', '.join(self.missed)}"
        speed = f"{self.files / self.seconds:,.0f}"
        return [f"{self.files:,}", f"{self.seconds:.0f}", f"{self.cpu:.0f}", speed, f"{self.mib:,.0f}", found]


def main() -> None:
    """Write the files, examine them, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the pictures here, and use those that are here")
    options = parser.parse_args()
    if options.files < 3:
        parser.error(f"--files {options.files}: expected 3 or more, for a third of them is examined first")
    with tempfile.TemporaryDirectory() as room:
        place, done = options.folder or Path(room), 0
        rows = []
        for part in (1, 2, 3):
            count = options.files * part // 3
            write(place / "photos", done, count)
            rows.append(examine(place, count).row())
            done = count
            print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
    print(markdown_table(["files", "s", "CPU s", "files/s", "peak MiB", "planted faults"], rows, right=1))
    print(f"\nJPEGs of {WIDTH} x {WIDTH * 3 // 4}. {versions('torch', 'pillow')}; {machine()}.")


def write(folder: Path, first: int, end: int) -> None:
    """Write the pictures of these numbers that are not there yet, in as many processes as there are cores."""
    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(
            pool.map(
                _write, *zip(*((folder, k, min(k + AT_ONCE, end)) for k in range(first, end, AT_ONCE)), strict=True)
            )
        )


def _write(folder: Path, first: int, end: int) -> None:
    for k in range(first, end):
        path = folder / f"class-{k % CLASSES}" / f"{k:07d}.jpg"
        if not path.exists():
            Image.fromarray(photograph(k, WIDTH)).save(path, quality=90)


def examine(place: Path, count: int) -> Examined:
    """Plant the faults, run the command, take the faults away."""
    folder = place / "photos"
    planted = plant(folder)
    command = [sys.executable, "-m", "striate", "doctor", str(folder), "--json"]
    began = time.perf_counter()
    with (place / "found.json").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    seconds = time.perf_counter() - began
    found = json.dumps(json.loads((place / "found.json").read_text()))
    for path in planted.values():
        path.unlink()
    missed = [fault for fault, path in planted.items() if path.name not in found]
    peak = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    return Examined(count, seconds, used.ru_utime + used.ru_stime, peak, missed)


def plant(folder: Path) -> dict[str, Path]:
    """Write a file with each fault and return where."""
    whole = (folder / "class-0" / f"{0:07d}.jpg").read_bytes()
    faults: dict[str, Any] = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "no picture": b"%PDF-1.7 not a picture at all",
        "copy in another class": whole,
        "near copy": recompressed(whole),
    }
    places = {fault: folder / "class-1" / f"planted-{fault.replace(' ', '-')}.jpg" for fault in faults}
    for fault, path in places.items():
        path.write_bytes(faults[fault])
    return places


def recompressed(content: bytes) -> bytes:
    """Return the same picture at a lower quality."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(target, "JPEG", quality=60)
    return target.getvalue()


if __name__ == "__main__":
    main()
