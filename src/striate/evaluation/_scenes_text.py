"""The evaluation of a segmentation as plain text."""

from typing import TYPE_CHECKING

from striate.evaluation._text import columns, percent, printable

if TYPE_CHECKING:
    from striate.evaluation._scenes import RegionScore, SceneEvaluation

_MOST_CLASSES = 40  # more are cut to the weakest: a table that scrolls away is not read
_PAIRS = 5


def as_text(evaluation: "SceneEvaluation") -> str:
    """Write an evaluation as a compact table for a terminal, without colours or markup."""
    e = evaluation
    lines = [
        f"mean IoU {percent(e.mean_iou)}, weighted by frequency {percent(e.frequency_weighted_iou)}",
        f"pixels right {percent(e.accuracy)} ({e.correct:,} of {e.total:,} in {e.pictures:,} pictures), "
        f"mean over the classes {percent(e.mean_accuracy)}",
        f"negative log-likelihood {e.nll:.4f}",
        "",
        *_table(e),
    ]
    if confused := e.confused[:_PAIRS]:
        lines += ["", "most often confused:"]
        lines += [
            f"  {printable(t)} taken for {printable(p)}: {count:,} pixels, {percent(count / e.total)} of all"
            for t, p, count in confused
        ]
    return "\n".join(lines)


def weakest(evaluation: "SceneEvaluation", count: int) -> "list[RegionScore]":
    """Return all classes in their order, or where there are more than `count` the `count` of lowest IoU."""
    scores = list(evaluation.per_class)
    if len(scores) <= count:
        return scores
    return sorted(scores, key=lambda score: 2.0 if score.iou is None else score.iou)[:count]


def _table(evaluation: "SceneEvaluation") -> list[str]:
    scores = weakest(evaluation, _MOST_CLASSES)
    rows = [("class", "IoU", "precision", "recall", "pixels")]
    rows += [
        (score.name, percent(score.iou), percent(score.precision), percent(score.recall), f"{score.support:,}")
        for score in scores
    ]
    lines = columns(rows)
    if len(scores) < len(evaluation.per_class):
        lines.append(f"(the {len(scores)} classes of lowest IoU out of {len(evaluation.per_class)})")
    return lines
