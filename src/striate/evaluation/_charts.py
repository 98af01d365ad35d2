"""Pictures for the report: inline SVG coloured by the page's style sheet, and small embedded images."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from PIL import Image

from striate.evaluation._calibration import Calibration

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 12, 34
_DOTS = 40  # more points than these are drawn as a line only
_LOG_FROM = 30.0  # a range so many times its lowest value is drawn on a logarithmic scale
_SMALL = 64  # pictures up to this side are kept exactly, larger ones shrunk
_THUMBNAIL = 160
_MOST_POINTS = 400  # of a line in a thumbnail
_CHANNELS = ("#1f7769", "#c8372d", "#3b5bdb", "#b7791f", "#7b2d8b", "#475569")
_MOST_CELLS = 720  # pixels of the confusion picture's side, where the classes allow it

_STYLE = """
svg { background: #fff; font-family: system-ui, "Liberation Sans", sans-serif; }
text { fill: #5d6772; font-size: 11px; } .grid { stroke: #dfe3e8; fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .line.val { stroke: #1f7769; }
.line.train { stroke: #b6bec7; stroke-width: 1; } .line.mark { stroke: #c8372d; stroke-dasharray: 4 3; }
.dot { fill: #1f7769; } .dot.mark { fill: #c8372d; }
"""  # of a file of its own: what the report's style sheet says of the same drawings, in light colours

RIGHT = np.array([31, 119, 105])  # the colours of the style sheet, for the picture of large confusion matrices
WRONG = np.array([200, 55, 45])


class Series(NamedTuple):
    """A line: its name, the style sheet's class that colours it, and y for each x; None breaks the line."""

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float | None]


class _Axis(NamedTuple):
    """A scale from numbers to pixels with the numbers to be written at it."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: list[float]

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(title: str, series: Sequence[Series], *, x_label: str, log: bool = False, log_x: bool = False) -> Markup:
    """Draw lines over a common x axis; with `log` the y axis is logarithmic if values span a factor of 30 or more.

    With `log_x` the x axis is logarithmic, else it has whole numbers only.
    """
    values = [y for line in series for y in line.y if y is not None]
    places = [x for line in series for x in line.x]
    if not values:
        return Markup("")
    log = log and min(values) > 0 and max(values) >= _LOG_FROM * min(values)
    x = _axis(min(places), max(places), _LEFT, _WIDTH - _RIGHT, log=log_x, whole=not log_x)
    y = _axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, log=log)
    parts = [_grid(x, y, x_label)]
    for line in series:
        parts.extend(_line(line, x, y))
    names = ", ".join(f"{line.name} ends at {_last(line):.4g}" for line in series if _last(line) is not None)
    return _svg(title + (" (logarithmic scale)" if log else ""), names, parts)


def standalone(drawing: Markup) -> str:
    """Return a drawing as the text of an SVG file of its own, on white; nothing drawn is an empty picture."""
    head, rest = str(drawing or _svg("", "", [])).split(">", 1)
    style = f"<style>{_STYLE}</style>"
    return f'{head} xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}">{style}{rest}\n'


def reliability_chart(title: str, calibration: Calibration) -> Markup:
    """Draw accuracy over confidence per bin: bars on the diagonal are true probabilities; below, where samples lie."""
    x = _Axis(0, 1, _LEFT, _WIDTH - _RIGHT, False, [0, 0.2, 0.4, 0.6, 0.8, 1])
    y = _Axis(0, 1, _HEIGHT - _BOTTOM, _TOP, False, [0, 0.2, 0.4, 0.6, 0.8, 1])
    total = sum(bin.count for bin in calibration.bins)
    parts = [_grid(x, y, "confidence")]
    for bin in calibration.bins:
        if bin.accuracy is None or bin.confidence is None:
            continue
        left, width = x.at(bin.low) + 0.75, x.at(bin.high) - x.at(bin.low) - 1.5
        low, high = sorted((bin.accuracy, bin.confidence))
        words = f"confidence {bin.confidence:.3f}, accuracy {bin.accuracy:.3f}, {bin.count} of {total} samples"
        parts.append(Markup("<g><title>{}</title>").format(words))
        parts.append(_rectangle("bar", left, y.at(bin.accuracy), width, y.at(0) - y.at(bin.accuracy)))
        parts.append(_rectangle("gap", left, y.at(high), width, y.at(low) - y.at(high)))
        share = bin.count / total
        parts.append(_rectangle("share", left + width / 4, y.at(share), width / 2, y.at(0) - y.at(share)))
        parts.append(Markup("</g>"))
    parts.append(_path("diagonal", [(x.at(0), y.at(0)), (x.at(1), y.at(1))]))
    return _svg(title, f"expected calibration error {calibration.ece:.4f}", parts)


def confusion_picture(confusion: npt.ArrayLike) -> str:
    """Draw a confusion matrix (rows are the truth) as a picture, a data URI: each cell by its share of the row."""
    counts = np.asarray(confusion, dtype=np.float64)
    share = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[..., None]  # sqrt: 1 % is still seen
    colour = np.where(np.eye(len(counts), dtype=bool)[..., None], RIGHT, WRONG)
    pixels = np.rint(255 + share * (colour - 255)).astype(np.uint8)
    scale = max(1, _MOST_CELLS // len(counts))
    return picture_uri(Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)), "PNG")


def thumbnail(picture: npt.NDArray[Any], side: int = _THUMBNAIL) -> str:
    """Make a small picture of uint8 C x h x w (C 1 or 3), or draw a series, float32 C x T: a data URI."""
    if picture.ndim == 2:
        return series_uri(picture)
    image = Image.fromarray(np.ascontiguousarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)))
    if max(image.size) <= _SMALL:
        return picture_uri(image, "PNG")
    image.thumbnail((side, side))
    return picture_uri(image, "JPEG")


def series_uri(series: npt.NDArray[Any]) -> str:
    """Draw the channels of a series (C x T) as lines, each by its own range; NaN is left out."""
    side, margin = 160.0, 6.0
    lines = []
    for k, channel in enumerate(series.astype(np.float64)):
        places = np.flatnonzero(np.isfinite(channel))
        if not len(places):
            continue
        places = places[:: max(1, len(places) // _MOST_POINTS)]
        low, high = channel[places].min(), channel[places].max()
        x = margin + (side - 2 * margin) * places / max(len(channel) - 1, 1)
        y = side - margin - (side - 2 * margin) * (channel[places] - low) / ((high - low) or 1.0)
        colour = _CHANNELS[k % len(_CHANNELS)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side:g} {side:g}">'
        f'<rect width="{side:g}" height="{side:g}" fill="#fff"/>{"".join(lines)}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def picture_uri(image: Image.Image, kind: str) -> str:
    """Return a picture as a data URI; kind: PNG or JPEG."""
    memory = io.BytesIO()
    image.save(memory, kind, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(memory.getvalue()).decode()}"


def _axis(low: float, high: float, start: float, end: float, *, log: bool = False, whole: bool = False) -> _Axis:
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        ticks = [factor * 10.0**decade for decade in decades for factor in steps]
        ticks = ticks[max(i for i, t in enumerate(ticks) if t <= low) :]
        ticks = ticks[: min(i for i, t in enumerate(ticks) if t >= high) + 1]
        return _Axis(ticks[0], ticks[-1], start, end, True, ticks)
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    if whole:  # epochs: no fractions, no empty margin
        step = max(1.0, step)
        ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return _Axis(low, high if high > low else low + 1, start, end, False, ticks)
    ticks = [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]
    ticks = ticks if len(ticks) > 1 else [ticks[0], ticks[0] + step]
    return _Axis(ticks[0], ticks[-1], start, end, False, ticks)


def _grid(x: _Axis, y: _Axis, x_label: str) -> Markup:
    parts = []
    for tick in y.ticks:
        parts.append(_path("grid", [(x.start, y.at(tick)), (x.end, y.at(tick))]))
        parts.append(_text(f"{tick:.6g}", x.start - 6, y.at(tick) + 4, "end"))
    for tick in x.ticks:
        parts.append(_path("grid", [(x.at(tick), y.start), (x.at(tick), y.start + 4)]))
        parts.append(_text(f"{tick:.6g}", x.at(tick), y.start + 16, "middle"))
    parts.append(_text(x_label, (x.start + x.end) / 2, _HEIGHT - 3, "middle"))
    return Markup("").join(parts)


def _line(line: Series, x: _Axis, y: _Axis) -> list[Markup]:
    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in zip(line.x, line.y, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((x.at(place), y.at(value)))
    parts = [_path(f"line {line.style}", run) for run in runs if len(run) > 1]
    if len(line.x) <= _DOTS:
        dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.2"/>')
        parts += [dot.format(line.style, *point) for run in runs for point in run]
    return parts


def _last(line: Series) -> float | None:
    return next((y for y in reversed(line.y) if y is not None), None)


def _svg(title: str, description: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>')
    return (
        head.format(_WIDTH, _HEIGHT, f"{title}: {description}", title, description)
        + Markup("").join(parts)
        + Markup("</svg>")
    )


def _path(style: str, points: Sequence[tuple[float, float]]) -> Markup:
    return Markup('<path class="{}" d="M{}"/>').format(style, "L".join(f"{a:.1f} {b:.1f}" for a, b in points))


def _rectangle(style: str, x: float, y: float, width: float, height: float) -> Markup:
    shape = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return shape.format(style, x, y, width, height)


def _text(words: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(words))
