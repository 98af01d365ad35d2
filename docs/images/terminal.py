"""Draw the README's picture: real commands, their real output, as an SVG terminal.

    python docs/images/terminal.py

Trains the digits, verifies the bundle and predicts a few pictures in a temporary folder, and writes train-digits.svg
beside this file. Long output is cut in the middle, where the dots are.
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from sklearn.datasets import load_digits

WIDTH = 112


def run(command: str, folder: Path) -> list[str]:
    """Run `striate ...` in a folder and return the lines it printed, progress first."""
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.strip()]


def cut(lines: list[str], first: int, last: int) -> list[str]:
    """Leave out the middle."""
    return lines if len(lines) <= first + last + 1 else [*lines[:first], "  ...", *lines[-last:]]


def main() -> None:
    """Write train-digits.svg."""
    console = Console(record=True, width=WIDTH, file=sys.stderr, force_terminal=True, highlight=False)

    def show(command: str, lines: list[str]) -> None:
        console.print(f"[bold green]$[/] [bold]{command}[/]")
        for line in lines:
            console.print(line, markup=False)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scans").mkdir()
        digits = load_digits()
        for k in (3, 14, 159):
            pixels = (digits.images[k] * 255 / 16).round().astype(np.uint8)
            Image.fromarray(pixels).save(folder / "scans" / f"{k}.png")
        train = "striate train digits --out runs/digits"
        lines = run(train, folder)
        epochs = [line for line in lines if line.startswith("epoch ") and "train loss" in line]
        rest = [line for line in lines if not line.startswith("epoch ")]
        show(train, [*cut(epochs, 2, 2), *rest[:4], "  ...", rest[-1]])
        for command in ("striate verify runs/digits/model.striate", "striate predict runs/digits/model.striate scans/"):
            show(command, run(command, folder))
    console.save_svg(str(Path(__file__).with_name("train-digits.svg")), title="striate", theme=DIMMED_MONOKAI)


if __name__ == "__main__":
    main()
