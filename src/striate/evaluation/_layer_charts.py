"""Pictures of what a network's layers are like: values of layers over epochs, and the first kernels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from PIL import Image

from striate.evaluation._charts import picture_uri

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 380, 132, 8, 4, 46
_CELL, _TALLEST = 15, 640  # a row's height; many rows share what is the tallest
_LETTERS = 19  # of a layer's name: its end is what tells it from others
_APART = 12  # pixels from one name to the next
_MOST_EPOCHS = 200
_FILTERS = 256  # kernels shown
_ENLARGED, _GAP = 4, 1  # pixels for a weight, and between kernels
_BETWEEN = (96, 125, 180)  # no kernel of grey has it

# From little to much, in equal steps: dark blue, blue, green, yellow; lightness rises, so it reads without colour too.
_SCALE = np.array([[38, 24, 95], [44, 90, 150], [38, 150, 130], [140, 200, 80], [250, 230, 60]], dtype=np.float64)
_NONE = (150, 150, 150)


class Range(NamedTuple):
    """The values between which a heat map's colours lie, on a logarithmic scale or not."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, 0..1."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5


def heat_map(
    title: str, layers: Sequence[str], epochs: Sequence[int], values: Sequence[Sequence[float | None]], *, log: bool
) -> Markup:
    """Draw a value of every layer (rows) over the epochs (columns); grey where it is None or has no logarithm."""
    thinned = max(1, math.ceil(len(epochs) / _MOST_EPOCHS))
    epochs, values = epochs[::thinned], [row[::thinned] for row in values]
    known = [v for row in values for v in row if v is not None and (v > 0 or not log)]
    if not known:
        return Markup("")
    span = Range(min(known), max(known), True) if log else Range(0.0, 1.0, False)
    height = min(_CELL, _TALLEST / len(layers))
    bottom = _TOP + height * len(layers)
    parts = [_image(_cells(values, span), _LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, bottom - _TOP)]
    every = math.ceil(_APART / height)
    for k in range(0, len(layers), every):
        name = layers[k] if len(layers[k]) <= _LETTERS else "…" + layers[k][1 - _LETTERS :]
        parts.append(_text(name, _LEFT - 6, _TOP + height * (k + 0.5) + 4, "end"))
    width = (_WIDTH - _LEFT - _RIGHT) / len(epochs)
    for k in sorted({0, len(epochs) // 2, len(epochs) - 1}):
        parts.append(_text(f"{epochs[k]}", _LEFT + width * (k + 0.5), bottom + 13, "middle"))
    parts.append(_text("epoch", _LEFT - 6, bottom + 13, "end"))
    parts += _legend(span, bottom + 22)
    words = f"from {span.low:.3g} to {span.high:.3g}" + (", logarithmic" if log else "")
    head = Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}"><title>{}</title>')
    return head.format(_WIDTH, bottom + _BOTTOM, f"{title}: {words}", title) + Markup("").join(parts) + Markup("</svg>")


def filters_picture(kernels: npt.ArrayLike) -> str:
    """Draw kernels P x D x m x n (D 1 or 3: grey or RGB) side by side, a data URI; each by its own largest value.

    Middle grey is 0, lighter is positive. At most 256 kernels are drawn.
    """
    weights = np.asarray(kernels, dtype=np.float64)[:_FILTERS]
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    levels = np.rint(127.5 + 127.5 * weights / np.where(largest > 0, largest, 1.0)).astype(np.uint8)
    levels = levels.repeat(_ENLARGED, axis=2).repeat(_ENLARGED, axis=3)
    count, _, height, width = levels.shape
    columns = max(1, math.ceil(math.sqrt(count * 2)))  # twice as wide as high
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _BETWEEN, np.uint8)
    for k in range(count):
        top, left = ((k // columns) * (height + _GAP) + _GAP, (k % columns) * (width + _GAP) + _GAP)
        canvas[top : top + height, left : left + width] = levels[k].transpose(1, 2, 0)
    return picture_uri(Image.fromarray(canvas), "PNG")


def _cells(values: Sequence[Sequence[float | None]], span: Range) -> npt.NDArray[np.uint8]:
    return np.array(
        [[_NONE if v is None or (span.log and v <= 0) else _colour(span.share(v)) for v in row] for row in values],
        dtype=np.uint8,
    )


def _colour(share: float) -> tuple[int, ...]:
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    k = min(int(place), len(_SCALE) - 2)
    return tuple(np.rint(_SCALE[k] + (place - k) * (_SCALE[k + 1] - _SCALE[k])).astype(int).tolist())


def _legend(span: Range, top: float) -> list[Markup]:
    strip = np.array([[_colour(k / 63) for k in range(64)]], dtype=np.uint8)
    words = (f"{span.low:.2g}", f"{span.high:.2g}" + (" (log)" if span.log else ""))
    return [
        _image(strip, _LEFT, top, 120, 8),
        _text(words[0], _LEFT - 6, top + 8, "end"),
        _text(words[1], _LEFT + 126, top + 8, "start"),
    ]


def _image(pixels: npt.NDArray[np.uint8], x: float, y: float, width: float, height: float) -> Markup:
    shape = Markup('<image class="cells" {} preserveAspectRatio="none" href="{}"/>')
    place = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(x, y, width, height)
    return shape.format(place, picture_uri(Image.fromarray(pixels), "PNG"))


def _text(words: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(words))
