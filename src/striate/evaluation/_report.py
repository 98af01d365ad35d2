"""The report of a training: one HTML file that needs nothing else."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from striate.errors import InputError
from striate.evaluation._charts import Series, confusion_picture, line_chart, reliability_chart, thumbnail
from striate.evaluation._text import percent, printable
from striate.files import write_text

if TYPE_CHECKING:
    from striate.data import Unreadable
    from striate.evaluation._evaluation import Evaluation, Mistake

TABLE_UP_TO = 20  # classes whose confusion matrix is shown in numbers; more are a picture
_PAIRS = 12
_CURVES = (  # title, key of the training value, key of the validation value
    ("Loss", "train_loss", "val_loss"),
    ("Accuracy", "train_accuracy", "val_accuracy"),
    ("Learning rate", "lr", None),
)


class Shown(NamedTuple):
    """A mistake with its picture (a data URI), or the reason why there is none."""

    mistake: "Mistake"
    picture: str | None
    reason: str


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: "Evaluation",
    history: Sequence[Mapping[str, Any]],
    facts: Mapping[str, object],
    pictures: Callable[[int], npt.NDArray[np.uint8]] | None = None,
    unreadable: "Sequence[Unreadable]" = (),
) -> None:
    """Write a self-contained HTML report to `path`, atomically; the same arguments make the same bytes.

    history: per epoch the keys epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr (absent or None: not
    measured). facts: what is worth knowing, by name; a mapping inside becomes rows "name.key". pictures: from an index
    of the judged split to uint8 C x h x w, for the worst mistakes. unreadable: the files that were left out.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, printable=printable)
    html = environment.get_template("report.html.j2").render(
        title=title,
        evaluation=evaluation,
        facts=list(_rows(facts)),
        curves=_curves(history),
        confusion=None if len(evaluation.classes) <= TABLE_UP_TO else confusion_picture(evaluation.confusion),
        confused=evaluation.confused[:_PAIRS],
        reliability=_reliability(evaluation),
        mistakes=[_shown(mistake, pictures) for mistake in evaluation.worst],
        unreadable=unreadable,
    )
    write_text(path, html)


def _percent(value: float | None) -> str:
    return percent(value).replace(" ", "\N{NO-BREAK SPACE}")


def _rows(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _curves(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup, bool]]:
    """Title, drawing and whether there is a validation line, for everything the history has."""
    epochs = [float(row.get("epoch", k)) for k, row in enumerate(history, 1)]
    curves = []
    for title, train, val in _CURVES:
        series = [Series("training", "train", epochs, _column(history, train))]
        if val is not None:
            series.append(Series("validation", "val", epochs, _column(history, val)))
        series = [line for line in series if any(y is not None for y in line.y)]
        if series:
            curves.append(
                (title, line_chart(title, series, x_label="epoch", log=train == "train_loss"), len(series) > 1)
            )
    return curves


def _column(history: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    values = [row.get(key) for row in history]
    return [float(value) if value is not None and math.isfinite(value) else None for value in values]


def _reliability(evaluation: "Evaluation") -> list[tuple[str, Markup]]:
    before, after = evaluation.uncalibrated, evaluation.calibrated
    if after.temperature == 1.0:
        return [("As the network gives them", reliability_chart("Reliability", before))]
    return [
        ("Before calibration", reliability_chart("Reliability before calibration", before)),
        (
            f"After calibration, temperature {after.temperature:.3f}",
            reliability_chart("Reliability after calibration", after),
        ),
    ]


def _shown(mistake: "Mistake", pictures: Callable[[int], npt.NDArray[np.uint8]] | None) -> Shown:
    if pictures is None:
        return Shown(mistake, None, "")
    try:
        return Shown(mistake, thumbnail(pictures(mistake.index)), "")
    except (InputError, OSError) as error:  # a file that has gone since is no reason to lose the report
        return Shown(mistake, None, f"the picture cannot be shown: {error}")
