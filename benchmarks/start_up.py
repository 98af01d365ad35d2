"""How long Striate takes until it does something, and how large it is.

    python benchmarks/start_up.py --write docs/performance.md

Each way to begin is run in fresh processes, in shuffled rounds, medians over them: seconds by the clock and of the
processor. `striate predict` answers for one picture with a bundle of LeNet-5; it needs PyTorch, so it is shown beside
`import torch` alone, over which it is to take half a second at most. Files are in the disk's cache. Then the package is
built from a copy of the sources: the seconds that the C++ kernels take to compile, the bytes of the wheel and of what
it installs (--no-build leaves this out).
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sections import machine, markdown_table, versions, write_record, write_section

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src")
WANTED = 0.5  # seconds that a prediction may take over `import torch`
ALONE, PREDICT = "python -c 'import torch'", "striate predict"


class Seconds(NamedTuple):
    """By the clock and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, print, write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-build", action="store_true", help="do not compile the kernels and build the wheel")
    parser.add_argument("--quick", action="store_true", help="for a look: two rounds, nothing is built")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        found = in_rounds(ways(room), 2 if asked.quick else asked.rounds)
        sizes = {} if asked.quick or asked.no_build else built(room / "build")
    print(text := report(found, sizes))
    if asked.write:
        write_section(asked.write, "start-up", text)
        seconds = {name: each._asdict() for name, each in found.items()}
        write_record(asked.write, "start-up", {"seconds": seconds, "package": sizes}, "striate", "torch")


def ways(room: Path) -> dict[str, list[str]]:
    """Return what is run, by its name; a bundle and a picture for it are written into the room."""
    bundle, picture = write_bundle(room)
    striate = [sys.executable, "-m", "striate"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import striate'": [sys.executable, "-c", "import striate"],
        "striate --help": [*striate, "--help"],
        ALONE: [sys.executable, "-c", "import torch"],
        PREDICT: [*striate, "predict", str(bundle), str(picture)],
    }


def write_bundle(room: Path) -> tuple[Path, Path]:
    """Write a bundle of LeNet-5 with random weights, and a picture."""
    import numpy as np
    from PIL import Image

    from striate.bundle import save
    from striate.data import ClassMap, Preprocessing
    from striate.models import build

    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(room / "picture.png")
    save(
        room / "model.striate",
        model_name="lenet5-modern",
        model_options={},
        state=build("lenet5-modern", classes=10, channels=1).state_dict(),
        classes=ClassMap(tuple("0123456789")),
        preprocessing=Preprocessing(1, (28, 28), "stretch", 2, (0.5,), (0.25,)),
        temperature=1.0,
        metrics={},
        provenance={},
        golden_images=pixels[None, None],
    )
    return room / "model.striate", room / "picture.png"


def in_rounds(commands: dict[str, list[str]], rounds: int) -> dict[str, Seconds]:
    """Run every command once a round, in another order each time; return the medians. What fails ends it."""
    found: dict[str, list[Seconds]] = {name: [] for name in commands}
    for turn in range(rounds + 1):  # the first one brings the files into memory
        for name in random.Random(turn).sample(list(commands), len(commands)):
            seconds = run(commands[name])
            found[name] += [seconds] if turn else []
    return {
        name: Seconds(*(statistics.median(kind) for kind in zip(*each, strict=True))) for name, each in found.items()
    }


def run(command: list[str], **words: object) -> Seconds:
    """Return what a command takes; raises SystemExit with what it printed if it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **words)  # type: ignore[call-overload]
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-2000:]}")
    return Seconds(wall, used.ru_utime + used.ru_stime)


def built(place: Path) -> dict[str, float]:
    """Build the package from a copy of the sources; return the seconds of compiling, the bytes of wheel and package."""
    place.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
            shutil.copytree(ROOT / name, place / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, place / name)
    compiling = run([sys.executable, "setup.py", "build_ext"], cwd=place)
    run([sys.executable, "setup.py", "bdist_wheel", "--dist-dir", "dist"], cwd=place)  # what is compiled is taken
    (wheel,) = (place / "dist").glob("*.whl")
    files = zipfile.ZipFile(wheel).infolist()
    return {
        "compiling_s": compiling.wall,
        "compiling_cpu_s": compiling.cpu,
        "wheel_bytes": wheel.stat().st_size,
        "installed_bytes": sum(file.file_size for file in files),
        "kernels_bytes": sum(file.file_size for file in files if "_native" in Path(file.filename).name),
    }


def report(found: dict[str, Seconds], sizes: dict[str, float]) -> str:
    """Return the tables and what they say."""
    body = [
        [f"`{name}`", f"{each.wall:.2f}", f"{each.cpu:.2f}", f"{each.wall - found[ALONE].wall:+.2f}"]
        for name, each in found.items()
    ]
    over = found[PREDICT].wall - found[ALONE].wall
    verdict = (
        f"A prediction for one picture takes {over:.2f} s over `import torch` alone"
        f" ({found[PREDICT].cpu - found[ALONE].cpu:.2f} s of the processor); {WANTED:g} s are wanted at most."
    )
    head = ["command", "s", "processor's s", "s over `import torch`"]
    parts = [f"{machine()}; {versions('striate', 'torch')}.", verdict, markdown_table(head, body, right=1)]
    if sizes:
        mib = {name: value / 2**20 for name, value in sizes.items()}
        parts.append(
            f"The wheel has {mib['wheel_bytes']:.1f} MiB, what it installs {mib['installed_bytes']:.1f} MiB, of which"
            f" the C++ kernels, for three instruction sets, {mib['kernels_bytes']:.1f} MiB. Compiling them takes"
            f" {sizes['compiling_s']:.0f} s ({sizes['compiling_cpu_s']:.0f} s of the processor)."
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
