"""What single files are like: refused ones, wrong endings, odd sizes, modes, orientation, profiles."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from striate.data.doctor._findings import Finding
from striate.data.doctor._sheet import Refusal, Sheet

SMALL = 4  # times smaller than the median, on the shorter side
SHAPE = 3  # times longer than the median shape

_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGB": "RGB",
    "RGBA": "RGB with transparency",
    "RGBX": "RGB",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "F": "floating point",
}


def mode_name(mode: str) -> str:
    """Return Pillow's mode in words."""
    return _MODES.get(mode, "grey with 16 or 32 bits" if mode.startswith("I") else mode)


def refused(path: str, refusal: Refusal) -> Finding:
    """Say that training would refuse a file."""
    return Finding(refusal.fault, (path,), f"{path}: {refusal.what}", (path,))


def singular(paths: Sequence[str], sheets: Sequence[Sheet]) -> list[Finding]:
    """Find what is particular about single pictures."""
    found = []
    kinds = {ending: _family(kind) for ending, kind in Image.registered_extensions().items()}
    for path, sheet in zip(paths, sheets, strict=True):
        ending = PurePosixPath(path).suffix.lower()
        if kinds.get(ending) != sheet.format:
            said = f"its ending says {kinds[ending]}" if ending in kinds else "its ending says nothing of that"
            found.append(Finding("wrong-ending", (path,), f"{path}: a {sheet.format}, {said}"))
        if not sheet.ended:
            found.append(Finding("no-end", (path,), f"{path}: the marker at the end of a JPEG is missing"))
        if sheet.constant:
            found.append(Finding("constant", (path,), f"{path}: every pixel has the same colour"))
    return found + _outliers(paths, sheets)


def collective(paths: Sequence[str], sheets: Sequence[Sheet]) -> list[Finding]:
    """Find what many pictures may have in common, one finding for each thing."""
    found = []
    modes = Counter(mode_name(sheet.mode) for sheet in sheets)
    if len(modes) > 1:
        common = modes.most_common(1)[0][0]
        others = tuple(p for p, sheet in zip(paths, sheets, strict=True) if mode_name(sheet.mode) != common)
        words = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
        found.append(Finding("modes", others, words))
    for kind, holds in (
        ("turned", [sheet.orientation != 1 for sheet in sheets]),
        ("profile", [sheet.profile for sheet in sheets]),
        ("animated", [sheet.animated for sheet in sheets]),
    ):
        some = tuple(path for path, held in zip(paths, holds, strict=True) if held)
        if some:
            found.append(Finding(kind, some, f"{len(some):,} of {len(paths):,} pictures"))
    return found


def _outliers(paths: Sequence[str], sheets: Sequence[Sheet]) -> list[Finding]:
    if not sheets:
        return []
    sizes = np.array([sheet.size for sheet in sheets], float)
    short, shape = sizes.min(axis=1), sizes[:, 0] / sizes[:, 1]
    usual, usual_shape = float(np.median(short)), float(np.median(shape))
    found = []
    for k in np.flatnonzero(short * SMALL < usual).tolist():
        width, height = sheets[k].size
        words = f"{paths[k]}: {width} x {height} pixels, the shorter side is usually {usual:.0f}"
        found.append(Finding("small", (paths[k],), words))
    for k in np.flatnonzero(np.abs(np.log(shape / usual_shape)) > np.log(SHAPE)).tolist():
        width, height = sheets[k].size
        words = (
            f"{paths[k]}: {width} x {height} pixels, {shape[k]:.2g} times as wide as high, usually {usual_shape:.2g}"
        )
        found.append(Finding("shape", (paths[k],), words))
    return found


def _family(kind: str) -> str:
    return "JPEG" if kind == "MPO" else kind
