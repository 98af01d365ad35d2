"""The report of a training: one HTML file that needs nothing else."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt
from markupsafe import Markup

from striate.errors import InputError
from striate.evaluation._charts import Series, confusion_picture, line_chart, reliability_chart, thumbnail
from striate.evaluation._evaluation import Evaluation, Mistake, wilson
from striate.evaluation._layer_charts import filters_picture, heat_map
from striate.evaluation._scenes import PoorPicture, SceneEvaluation
from striate.evaluation._text import percent, printable
from striate.files import write_text

if TYPE_CHECKING:
    from striate.data import Unreadable
    from striate.data._masks import Colour
    from striate.insight import Filters

TABLE_UP_TO = 20  # classes whose confusion matrix is shown in numbers; more are a picture
_PAIRS = 12
_SCENE = 1080  # width in pixels of a scene with its masks
_LAYER_CHARTS = (  # key in error_terms.jsonl, title, on a logarithmic scale
    ("error", "Error term", True),
    ("gradient", "Gradient over weights", True),
    ("dead", "Dead units", False),
)
_CURVES = (  # title, key of the training value, key of the validation value
    ("Loss", "train_loss", "val_loss"),
    ("Accuracy", "train_accuracy", "val_accuracy"),
    ("Mean IoU", "train_miou", "val_miou"),
    ("Learning rate", "lr", None),
)


class ErrorTerms(NamedTuple):
    """The error terms for the report: heat maps by title, and the layers' values in the last epoch."""

    charts: list[tuple[str, Markup]]
    epoch: int
    layers: list[tuple[str, float | None, float | None, float | None]]
    ratio: float | None  # of the first layer's error term to the last layer's


class Shown(NamedTuple):
    """A mistake with its picture (a data URI), or the reason why there is none."""

    mistake: Mistake | PoorPicture
    picture: str | None
    reason: str


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: Evaluation | SceneEvaluation | None,
    history: Sequence[Mapping[str, Any]],
    facts: Mapping[str, object],
    pictures: Callable[[int], npt.NDArray[Any]] | None = None,
    unreadable: "Sequence[Unreadable]" = (),
    note: str = "",
    cost: Mapping[str, object] | None = None,
    filters: "Filters | None" = None,
    error_terms: Sequence[Mapping[str, Any]] = (),
    uses: Sequence[Mapping[str, Any]] = (),
    colours: "Sequence[Colour]" = (),
) -> None:
    """Write a self-contained HTML report to `path`, atomically; the same arguments make the same bytes.

    history: per epoch the keys epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr (absent or None: not
    measured). facts: what is worth knowing, by name; a mapping inside becomes rows "name.key". pictures: from an index
    of the judged split to its sample (see `ImageSplit.load`; for scenes `scene_views`), for the worst mistakes.
    unreadable: the files that were left out. evaluation is None for a run that was not measured; `note` then says why.
    cost: facts about cost. filters: the first kernels. error_terms: lines of error_terms.jsonl. uses: lines of
    tests.jsonl. colours: of the classes of masks.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not needed to predict

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, printable=printable)
    many = evaluation is not None and len(evaluation.classes) > TABLE_UP_TO
    scenes = isinstance(evaluation, SceneEvaluation)
    html = environment.get_template("scenes_report.html.j2" if scenes else "report.html.j2").render(
        title=title,
        e=evaluation,
        colours=colours,
        facts=list(_rows(facts)),
        curves=_curves(history),
        confusion=confusion_picture(evaluation.confusion) if evaluation and many else None,
        confused=evaluation.confused[:_PAIRS] if evaluation else [],
        reliability=_reliability(evaluation) if isinstance(evaluation, Evaluation) else [],
        mistakes=[_shown(mistake, pictures) for mistake in evaluation.worst] if evaluation else [],
        unreadable=unreadable,
        note=note,
        cost=list(_rows(cost or {})),
        filters=filters,
        filters_picture=filters_picture(filters.kernels) if filters and filters.kernels.shape[1] in {1, 3} else None,
        error_terms=_error_terms(error_terms),
        # pixels of a picture are no independent samples: an interval that takes them for such would be far too narrow
        uses=[{**use, "interval": None if scenes else wilson(use["correct"], use["total"])} for use in uses],
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


def _error_terms(rows: Sequence[Mapping[str, Any]]) -> ErrorTerms | None:
    """Heat maps of the layers that the last line has; None without lines."""
    if not rows or not rows[-1]["layers"]:
        return None
    last = rows[-1]
    layers, epochs = list(last["layers"]), [row["epoch"] for row in rows]
    charts = []
    for key, title, log in _LAYER_CHARTS:
        columns = [dict(zip(row["layers"], row[key], strict=True)) for row in rows]
        values = [[column.get(layer) for column in columns] for layer in layers]
        if drawn := heat_map(title, layers, epochs, values, log=log):
            charts.append((title, drawn))
    table = list(zip(layers, last["error"], last["gradient"], last["dead"], strict=True))
    first, final = table[0][1], table[-1][1]
    return ErrorTerms(charts, epochs[-1], table, first / final if first and final else None)


def _reliability(evaluation: Evaluation) -> list[tuple[str, Markup]]:
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


def _shown(mistake: Mistake | PoorPicture, pictures: Callable[[int], npt.NDArray[Any]] | None) -> Shown:
    if pictures is None:
        return Shown(mistake, None, "")
    try:
        picture = pictures(mistake.index)
        return Shown(mistake, thumbnail(picture) if isinstance(mistake, Mistake) else thumbnail(picture, _SCENE), "")
    except (InputError, OSError) as error:  # a file that has gone since is no reason to lose the report
        return Shown(mistake, None, f"the picture cannot be shown: {error}")
