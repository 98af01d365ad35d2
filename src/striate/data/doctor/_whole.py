"""What the set is like as a whole: sizes of classes, and the pictures' statistics."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from striate.data._preprocessing import Preprocessing
from striate.data.doctor._findings import File, Finding, Statistics
from striate.data.doctor._pictures import mode_name
from striate.data.doctor._sheet import Sheet

TINY = 10  # pictures of a class to train on
IMBALANCE = 10  # times as many pictures in the largest class as in the smallest

_GREY = frozenset({"1", "L", "LA"})


def class_sizes(files: Sequence[File]) -> list[Finding]:
    """Find classes with few readable pictures to train on, and sets in which they differ much in size."""
    trained = Counter(file.label for file in files if file.part in {"", "train"})
    found = [
        Finding("tiny-class", (), f"class {label!r} has {count} pictures to train on")
        for label, count in sorted(trained.items())
        if count < TINY
    ]
    if not trained:
        return found
    least, most = min(trained, key=lambda label: trained[label]), max(trained, key=lambda label: trained[label])
    few, many = trained[least], trained[most]
    if many > IMBALANCE * few:
        found.append(Finding("imbalance", (), f"{many:,} pictures of {most!r} and {few:,} of {least!r}"))
    return found


def statistics(files: Sequence[File], sheets: Sequence[Sheet], preprocessing: Preprocessing) -> Statistics | None:
    """Summarise the readable pictures; means and deviations are exact, over every value of the training pictures."""
    if not sheets:
        return None
    trained = [sheet for file, sheet in zip(files, sheets, strict=True) if file.part in {"", "train"}] or list(sheets)
    sizes = np.array([sheet.size for sheet in sheets])
    sums = np.array([sheet.sums for sheet in trained], object).sum(axis=0)  # Python's integers: nothing is rounded
    squares = np.array([sheet.squares for sheet in trained], object).sum(axis=0)
    if grey := all(_is_grey(sheet) for sheet in sheets):
        sums, squares = sums[:1], squares[:1]
    count = len(trained) * preprocessing.size[0] * preprocessing.size[1]
    mean = [float(total) / (255 * count) for total in sums]
    variance = [
        int(count * square - total * total) / (255 * count) ** 2 for total, square in zip(sums, squares, strict=True)
    ]
    return Statistics(
        formats=dict(Counter(sheet.format for sheet in sheets).most_common()),
        modes=dict(Counter(mode_name(sheet.mode) for sheet in sheets).most_common()),
        smallest=_pair(sizes.min(axis=0)),
        median=_pair(np.median(sizes, axis=0)),
        largest=_pair(sizes.max(axis=0)),
        channels=1 if grey else preprocessing.channels,
        size=preprocessing.size,
        fit=preprocessing.fit,
        mean=tuple(mean),
        std=tuple(value**0.5 for value in variance),
    )


def _is_grey(sheet: Sheet) -> bool:
    return sheet.mode in _GREY or sheet.mode.startswith(("I", "F"))


def _pair(values: NDArray[np.float64]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
