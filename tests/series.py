"""Series for the tests and examples: cylinder, bell and funnel (Saito 1994, section 2.3)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = ("bell", "cylinder", "funnel")
LENGTH = 128


def cylinder_bell_funnel(label: str, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """One series of 128 values: (6 + eta) times a shape between a and b, plus noise, all drawn anew.

    a is uniform on 16..32, b - a on 32..96, eta and the noise are standard normal.
    """
    a = int(generator.integers(16, 33))
    b = a + int(generator.integers(32, 97))
    t = np.arange(1, LENGTH + 1)
    shape = {"cylinder": np.ones(LENGTH), "bell": (t - a) / (b - a), "funnel": (b - t) / (b - a)}[label]
    inside = (t >= a) & (t <= b)
    return (6 + generator.standard_normal()) * inside * shape + generator.standard_normal(LENGTH)


def write_folders(root: Path, *, per_class: int = 8, channels: int = 1, lengths: Sequence[int] = (24, 30)) -> Path:
    """Class folders rise/ and fall/ of CSV files and one NPY each: noisy slopes of different lengths."""
    generator = np.random.default_rng(0)
    for label, sign in (("rise", 1), ("fall", -1)):
        (root / label).mkdir(parents=True)
        for k in range(per_class):
            t = np.linspace(-1, 1, lengths[k % len(lengths)])
            series = (
                5 + 2 * sign * t[:, None] * np.arange(1, channels + 1) + generator.normal(0, 0.3, (len(t), channels))
            )
            if k == 0:
                np.save(root / label / "0.npy", series)
            else:
                np.savetxt(root / label / f"{k}.csv", series, delimiter=",")
    return root


def write_ucr(root: Path, name: str, counts: dict[str, int], seed: int = 0) -> Path:
    """Write NAME_TRAIN.tsv and so on with so many series of each class of cylinder, bell and funnel."""
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for part, count in counts.items():
        lines = []
        for k in range(3 * count):
            values = cylinder_bell_funnel(CLASSES[k % 3], generator)
            lines.append("\t".join([CLASSES[k % 3], *(f"{value:.6f}" for value in values)]))
        (root / f"{name}_{part}.tsv").write_text("\n".join(lines) + "\n")
    return root
