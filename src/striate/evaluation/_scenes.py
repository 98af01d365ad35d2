"""What a segmentation is worth: pixels counted at each picture's own size, whole numbers all the way."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.evaluation._dense import dense_logits, mask_of

if TYPE_CHECKING:
    from torch import nn

    from striate.data import ClassMap, Preprocessing, SceneSplit

WORST = 12  # pictures kept
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RegionScore:
    """How well the pixels of one class were found; None where the definition divides by zero."""

    name: str
    iou: float | None  # TP / (TP + FP + FN); None if no pixel has this class and none was called it
    precision: float | None  # of the pixels that were called this class, the part that is
    recall: float | None  # of the pixels of this class, the part that was found
    support: int  # pixels of this class


@dataclass(frozen=True)
class PoorPicture:
    """A picture of which many pixels were predicted wrongly."""

    index: int  # in the split
    id: str
    correct: int
    total: int  # pixels that are known

    @property
    def accuracy(self) -> float:
        """The part of its known pixels that was predicted rightly."""
        return self.correct / self.total


@dataclass(frozen=True)
class SceneEvaluation:
    """The measured quality of a segmentation on one split; pixels that are void are not counted.

    All figures but the loss follow from the confusion matrix, so parts of a split add up exactly.
    """

    classes: tuple[str, ...]
    pictures: int
    confusion: tuple[tuple[int, ...], ...]  # K x K pixels: rows are the truth, columns the prediction
    nll: float  # mean negative log-likelihood of the known pixels in nats, at the network's size
    worst: tuple[PoorPicture, ...]  # those with the smallest part of right pixels, at most 12

    @property
    def correct(self) -> int:
        """Pixels that were predicted rightly."""
        return sum(row[k] for k, row in enumerate(self.confusion))

    @property
    def total(self) -> int:
        """Pixels that are known."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """The part of the pixels that was predicted rightly, 0..1."""
        return self.correct / self.total

    @property
    def per_class(self) -> tuple[RegionScore, ...]:
        """The scores of each class, in their order."""
        scores = []
        for k, name in enumerate(self.classes):
            found, support = self.confusion[k][k], sum(self.confusion[k])
            called = sum(row[k] for row in self.confusion)
            iou = _ratio(found, support + called - found)
            scores.append(RegionScore(name, iou, _ratio(found, called), _ratio(found, support), support))
        return tuple(scores)

    @property
    def mean_iou(self) -> float:
        """The mean of the IoU over the classes for which it is defined."""
        defined = [score.iou for score in self.per_class if score.iou is not None]
        return sum(defined) / len(defined)

    @property
    def mean_accuracy(self) -> float:
        """The mean of the recall over the classes that are there."""
        defined = [score.recall for score in self.per_class if score.recall is not None]
        return sum(defined) / len(defined)

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of the IoU over the known pixels, each counting for its class (Long et al. 2015, section 5)."""
        return sum(score.support * (score.iou or 0.0) for score in self.per_class) / self.total

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Each (truth, prediction, pixels) that was confused at least once, the most frequent first."""
        pairs = [
            (truth, prediction, count)
            for truth, row in zip(self.classes, self.confusion, strict=True)
            for prediction, count in zip(self.classes, row, strict=True)
            if count and truth != prediction
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def as_text(self) -> str:
        """Return a compact plain-text table for a terminal."""
        from striate.evaluation._scenes_text import as_text

        return as_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without NaN from which `from_json` makes an equal object."""
        return {
            "mean_iou": self.mean_iou,
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "correct": self.correct,
            "total": self.total,
            "per_class": [asdict(score) for score in self.per_class],
            **asdict(self),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SceneEvaluation":
        """Make it from `to_json`'s dictionary; other keys are ignored. Raises InputError if it is none."""
        try:
            fields = {field.name: values[field.name] for field in dataclass_fields(cls)}
            fields["classes"] = tuple(fields["classes"])
            fields["confusion"] = tuple(tuple(int(count) for count in row) for row in fields["confusion"])
            fields["worst"] = tuple(PoorPicture(**picture) for picture in fields["worst"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"evaluation: not a description this version understands ({error})") from error


class SceneCounts(NamedTuple):
    """What was counted of some pictures of a split, in its order; counts of parts add up to those of the whole."""

    confusion: Counts  # K x K pixels
    pictures: npt.NDArray[np.float64]  # N x 4: loss and known pixels at the network's size, right and known at its own


def judge_scenes(
    model: "nn.Module",
    split: "SceneSplit",
    preprocessing: "Preprocessing",
    classes: "ClassMap",
    *,
    batch_size: int = 8,
    progress: Callable[[int, int, str], None] | None = None,
) -> SceneEvaluation:
    """Measure a network on pictures with masks: its logits at each picture's own size against the mask as it is stored.

    Memory does not grow with the size of the pictures' masks. `progress(done, total, what)` is called after each batch.
    Raises InputError for no pictures, for no known pixel, and for logits that are not finite.
    """
    rows = np.arange(len(split))
    counts = count_scenes(model, split, rows, preprocessing, classes, batch_size=batch_size, progress=progress)
    return evaluation_of(counts, split, classes)


def count_scenes(
    model: "nn.Module",
    split: "SceneSplit",
    rows: npt.ArrayLike,
    preprocessing: "Preprocessing",
    classes: "ClassMap",
    *,
    batch_size: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> SceneCounts:
    """Count for the pictures at `rows` of a split what `evaluation_of` needs of all; raises as `judge_scenes` does."""
    import torch
    from torch.nn.functional import cross_entropy

    from striate.data import VOID, batches

    own = np.asarray(rows, np.int64)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    pictures: list[tuple[float, int, int, int]] = []
    for indices, images, targets in batches(split, own, batch_size):
        logits = dense_logits(model, images.numpy(), preprocessing)
        _require_finite(logits.isfinite().flatten(1).all(1).tolist(), [split.ids[k] for k in indices])
        if logits.shape[1] != len(classes):
            raise InputError(f"judge: expected logits of {len(classes)} classes, got {logits.shape[1]}")
        wanted = targets.to(logits.device, torch.int64)
        for row, scores, target in zip(indices.tolist(), logits, wanted, strict=True):
            loss = float(cross_entropy(scores[None], target[None], ignore_index=VOID, reduction="sum"))
            truth = split.truth(row)
            counts = count_pixels(truth, mask_of(scores, (truth.shape[0], truth.shape[1]), preprocessing), len(classes))
            confusion += counts
            pictures.append((loss, int((target != VOID).sum()), int(np.trace(counts)), int(counts.sum())))
        if progress is not None:
            progress(len(pictures), len(own), "evaluating")
    return SceneCounts(confusion, np.asarray(pictures, np.float64).reshape(-1, 4))


def evaluation_of(counts: SceneCounts, split: "SceneSplit", classes: "ClassMap") -> SceneEvaluation:
    """Return what the counts of all pictures of a split are worth; raises InputError if there are none."""
    if not len(split):
        raise InputError("judge: there is nothing to judge, the split has no pictures; give it at least one")
    if not counts.confusion.sum():
        raise InputError("judge: there is nothing to judge, every pixel of the masks is void")
    table = tuple(tuple(row) for row in counts.confusion.tolist())
    losses, known, right, total = counts.pictures.T
    poor = [PoorPicture(k, split.ids[k], int(right[k]), int(total[k])) for k in np.flatnonzero(total).tolist()]
    worst = sorted(poor, key=lambda picture: (picture.accuracy, picture.index))[:WORST]
    nll = sum(losses.tolist()) / max(known.sum(), 1.0)
    return SceneEvaluation(classes.names, len(split), table, float(nll), tuple(worst))


def count_pixels(truth: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], classes: int) -> Counts:
    """Count the known pixels by (truth, prediction): K x K; pixels whose truth is VOID are left out."""
    known = truth < classes  # VOID is above every class
    pairs = truth[known].astype(np.int64) * classes + found[known]
    counts: Counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return counts


def _require_finite(finite: Sequence[bool], ids: Sequence[str]) -> None:
    if not all(finite):
        raise InputError(
            f"judge: the logits of {ids[finite.index(False)]} are not finite; the model has diverged, train it with a "
            "lower learning rate"
        )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
