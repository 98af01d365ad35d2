"""An evaluation as plain text: how numbers and names are written, in the terminal and in the report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from striate.evaluation._evaluation import ClassScore, Evaluation

UNDEFINED = "–"
_MOST_CLASSES = 30  # more are cut to the weakest: a table that scrolls away is not read
_WIDEST = 40
_PAIRS = 5


def as_text(evaluation: "Evaluation") -> str:
    """Write an evaluation as a compact table for a terminal, without colours or markup."""
    low, high = evaluation.interval
    lines = [
        f"accuracy {percent(evaluation.accuracy)} ({evaluation.correct} of {evaluation.total}), "
        f"95 % interval {percent(low)} to {percent(high)}"
    ]
    if evaluation.top5_correct is not None:
        lines.append(f"top-5 accuracy {percent(evaluation.top5_correct / evaluation.total)}")
    before, after = evaluation.uncalibrated, evaluation.calibrated
    lines.append(
        f"negative log-likelihood {before.nll:.4f}, calibrated {after.nll:.4f} (temperature {after.temperature:.3f})"
    )
    lines.append(f"expected calibration error {percent(before.ece)}, calibrated {percent(after.ece)}")
    lines += ["", *_table(evaluation)]
    if confused := evaluation.confused[:_PAIRS]:
        lines += ["", "most often confused:"]
        lines += [f"  {printable(t)} taken for {printable(p)}: {count}" for t, p, count in confused]
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Write a proportion as a percentage that never rounds to 0 or 100 what is not, and None as a dash."""
    if value is None:
        return UNDEFINED
    shown = f"{100 * value:.2f}"
    if (shown == "100.00" and value < 1) or (shown == "0.00" and value > 0):
        shown = ">99.99" if value > 0.5 else "<0.01"
    return f"{shown} %"


def duration(seconds: float) -> str:
    """Write a time span for a person: 8 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def printable(text: object) -> str:
    """Return text fit to be shown: control characters and broken encodings become the replacement sign."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def weakest(evaluation: "Evaluation", count: int) -> "list[ClassScore]":
    """Return all classes in their order, or where there are more than `count` the `count` of lowest F1."""
    scores = list(evaluation.per_class)
    if len(scores) <= count:
        return scores
    return sorted(scores, key=lambda score: 2.0 if score.f1 is None else score.f1)[:count]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a table: a heading, a rule and rows; names on the left are cut, numbers stand to the right."""
    rows = [(_cut(printable(row[0])), *row[1:]) for row in rows]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(_pad(cell, width, left=i == 0) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _table(evaluation: "Evaluation") -> list[str]:
    scores = weakest(evaluation, _MOST_CLASSES)
    rows = [("class", "precision", "recall", "F1", "support")]
    rows += [
        (score.name, percent(score.precision), percent(score.recall), percent(score.f1), str(score.support))
        for score in [*scores, evaluation.mean]
    ]
    lines = columns(rows)
    lines = [*lines[:-1], lines[1], lines[-1]]
    if len(scores) < len(evaluation.per_class):
        lines.append(f"(the {len(scores)} classes of lowest F1 out of {len(evaluation.per_class)})")
    return lines


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else name[: _WIDEST - 1] + "…"


def _pad(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - cell_len(cell))
    return cell + space if left else space + cell
