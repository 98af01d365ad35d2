"""Does a bundle still compute what it computed when it was saved?"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.bundle._bundle import golden_logits, load

TOLERANCE = (
    1e-4  # of the largest |logit|: float32 sums in another order differ by some 1e-6, another network by far more
)


@dataclass(frozen=True)
class Verification:
    """How far a bundle's outputs for its golden pictures are from the stored ones."""

    path: Path
    images: int
    predictions: int  # that were compared: one for each picture, or for each golden place of each
    agreeing: int  # of them, those whose class is the stored one
    worst_absolute: float
    worst_relative: float  # worst_absolute over the largest stored |logit|
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance.

        Two classes whose logits are closer than that may change places, so `agreeing` below all is no failure by
        itself; outputs within the tolerance allow nothing more.
        """
        return self.worst_relative <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; an error that is no finite number is None."""
        values = {**asdict(self), "path": str(self.path), "passed": self.passed}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}

    def as_text(self) -> str:
        """Return the result as a few lines of plain text."""
        return (
            f"{self.path}: {'verified' if self.passed else 'FAILED'}\n"
            "  file       whole and unchanged (SHA-256)\n"
            f"  outputs    {self.images} golden pictures, worst error {self.worst_absolute:.2g}, "
            f"relative to the largest logit {self.worst_relative:.2g} (tolerance {self.tolerance:g})\n"
            f"  classes    {self.agreeing} of {self.predictions} predicted as when it was saved"
        )


def verify(path: str | Path, *, progress: Callable[[int, int, str], None] | None = None) -> Verification:
    """Check a bundle's file and run its golden pictures again, on this machine's CPU.

    Raises InputError if the file is damaged or no bundle; outputs that differ are told by the result's `passed`.
    """
    bundle = load(path)
    dense = bundle.masks is not None
    logits = golden_logits(bundle.model, bundle.golden_images, bundle.preprocessing, progress, dense=dense)
    difference = np.abs(logits.astype(np.float64) - bundle.golden_logits)
    worst = float(difference.max()) if np.isfinite(logits).all() else float("inf")
    largest = float(np.abs(bundle.golden_logits).max())
    return Verification(
        path=bundle.path,
        images=len(logits),
        predictions=logits.size // logits.shape[1],
        agreeing=int((logits.argmax(axis=1) == bundle.golden_logits.argmax(axis=1)).sum()),
        worst_absolute=worst,
        worst_relative=worst / largest if largest else worst,
        tolerance=TOLERANCE,
    )
