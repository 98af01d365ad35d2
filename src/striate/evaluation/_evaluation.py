"""What the logits of a split are worth: exact counts, intervals, calibration, mistakes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.evaluation._calibration import Bin, Calibration, Integers, calibration, log_softmax

if TYPE_CHECKING:
    from striate.data import ClassMap

WORST = 24  # mistakes kept
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution: a two-sided 95 % interval


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class; None where the definition divides by zero."""

    name: str
    precision: float | None  # of what was called this class, the part that is; None if nothing was called it
    recall: float | None  # of this class, the part that was found; None if no sample has this class
    f1: float | None  # 2 TP / (2 TP + FP + FN); None if neither a sample nor a prediction has this class
    support: int  # samples of this class

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson score interval of the recall; None if no sample has this class."""
        return None if self.recall is None else wilson(round(self.recall * self.support), self.support)


@dataclass(frozen=True)
class Mistake:
    """A sample that was predicted wrongly."""

    index: int  # in the split
    id: str
    truth: str
    prediction: str
    probability: float  # of the prediction, calibrated


@dataclass(frozen=True)
class Evaluation:
    """The measured quality of a classifier on one split."""

    classes: tuple[str, ...]
    correct: int
    total: int
    top5_correct: int | None  # None for five classes or fewer
    confusion: tuple[tuple[int, ...], ...]  # K x K counts: rows are the truth, columns the prediction
    per_class: tuple[ClassScore, ...]
    uncalibrated: Calibration  # temperature 1
    calibrated: Calibration
    worst: tuple[Mistake, ...]  # the most confident mistakes, at most 24

    @property
    def accuracy(self) -> float:
        """The part of the samples that was predicted rightly, 0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the accuracy."""
        return wilson(self.correct, self.total)

    @property
    def temperature(self) -> float:
        """The temperature of the calibrated probabilities."""
        return self.calibrated.temperature

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood in nats, before calibration."""
        return self.uncalibrated.nll

    @property
    def nll_calibrated(self) -> float:
        """Mean negative log-likelihood in nats, after calibration."""
        return self.calibrated.nll

    @property
    def ece(self) -> float:
        """Expected calibration error, before calibration."""
        return self.uncalibrated.ece

    @property
    def ece_calibrated(self) -> float:
        """Expected calibration error, after calibration."""
        return self.calibrated.ece

    @property
    def mean(self) -> ClassScore:
        """The means of precision, recall and F1 over the classes for which they are defined (macro averages)."""
        precision, recall, f1 = (
            _mean([getattr(s, name) for s in self.per_class]) for name in ("precision", "recall", "f1")
        )
        return ClassScore("mean", precision, recall, f1, self.total)

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Each (truth, prediction, count) that was confused at least once, the most frequent first."""
        pairs = [
            (truth, prediction, count)
            for truth, row in zip(self.classes, self.confusion, strict=True)
            for prediction, count in zip(self.classes, row, strict=True)
            if count and truth != prediction
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def as_text(self) -> str:
        """Return a compact plain-text table for a terminal."""
        from striate.evaluation._text import as_text

        return as_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without NaN from which `from_json` makes an equal object."""
        return {"accuracy": self.accuracy, "interval": self.interval, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Evaluation":
        """Make an Evaluation from `to_json`'s dictionary; other keys are ignored. Raises InputError if it is none."""
        try:
            fields = {field.name: values[field.name] for field in dataclass_fields(cls)}
            fields["classes"] = tuple(fields["classes"])
            fields["confusion"] = tuple(tuple(row) for row in fields["confusion"])
            fields["per_class"] = tuple(ClassScore(**score) for score in fields["per_class"])
            fields["worst"] = tuple(Mistake(**mistake) for mistake in fields["worst"])
            for key in ("uncalibrated", "calibrated"):
                bins = tuple(Bin(**bin) for bin in fields[key]["bins"])
                fields[key] = Calibration(**{**fields[key], "bins": bins})
            return cls(**fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"evaluation: not a description this version understands ({error})") from error


def judge(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: "ClassMap",
    ids: Sequence[str],
    *,
    temperature: float = 1.0,
) -> Evaluation:
    """Measure logits (N x K) against the true labels (N class indices); `ids` names the samples.

    `temperature` comes from `fit_temperature` on the validation split. Raises InputError where the arguments do not
    fit together, for no samples at all, and for logits that are not finite.
    """
    values, truth = np.asarray(logits), np.asarray(labels)
    names = tuple(classes.names)
    _check(values, truth, names, ids, temperature)
    truth = truth.astype(np.int64)
    prediction = values.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (truth, prediction), 1)
    return Evaluation(
        classes=names,
        correct=int((prediction == truth).sum()),
        total=len(truth),
        top5_correct=_top5(values, truth) if len(names) > 5 else None,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        per_class=_scores(confusion, names),
        uncalibrated=calibration(values, truth),
        calibrated=calibration(values, truth, temperature),
        worst=_worst(values, truth, names, ids, temperature),
    )


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (Wilson, 1927), which stays inside 0..1."""
    share, z2 = correct / total, _Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5 / (1 + z2 / total)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if correct == 0 else low, 1.0 if correct == total else high)  # exact at the ends, free of rounding


def _check(
    logits: npt.NDArray[Any], labels: npt.NDArray[Any], names: tuple[str, ...], ids: Sequence[str], temperature: float
) -> None:
    shape = logits.shape
    if logits.ndim != 2 or shape[1] != len(names):
        raise InputError(f"judge: expected logits N x {len(names)}, one column per class, got shape {shape}")
    if labels.shape != (shape[0],) or len(ids) != shape[0]:
        raise InputError(
            f"judge: {shape[0]} rows of logits need as many labels and ids, got {labels.shape}, {len(ids)}"
        )
    if not shape[0]:
        raise InputError("judge: there is nothing to judge, the split has no samples; give it at least one picture")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(names):
        raise InputError(
            f"judge: labels must be whole numbers in 0..{len(names) - 1}, "
            f"got {labels.dtype} in {labels.min()}..{labels.max()}"
        )
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise InputError(
            f"judge: the logits of {len(bad)} of {shape[0]} samples are not finite (first: {ids[int(bad[0])]}); "
            "the model has diverged, train it with a lower learning rate"
        )
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"judge: temperature must be a finite number above 0, got {temperature}")


def _scores(confusion: Integers, names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    found, called, support = (
        confusion.diagonal().tolist(),
        confusion.sum(axis=0).tolist(),
        confusion.sum(axis=1).tolist(),
    )
    return tuple(
        ClassScore(name, _ratio(tp, c), _ratio(tp, s), _ratio(2 * tp, c + s), s)
        for name, tp, c, s in zip(names, found, called, support, strict=True)
    )


def _top5(logits: npt.NDArray[Any], truth: Integers) -> int:
    five = np.argsort(-logits, axis=1, kind="stable")[:, :5]  # stable: ties go to the lower index, as in argmax
    return int((five == truth[:, None]).any(axis=1).sum())


def _worst(
    logits: npt.NDArray[Any], truth: Integers, names: tuple[str, ...], ids: Sequence[str], temperature: float
) -> tuple[Mistake, ...]:
    prediction = logits.argmax(axis=1)
    wrong = np.flatnonzero(prediction != truth)
    probability = np.exp(log_softmax(logits[wrong], temperature).max(axis=1)) if len(wrong) else np.empty(0)
    order = np.argsort(-probability, kind="stable")[:WORST]
    return tuple(
        Mistake(int(i), str(ids[i]), names[truth[i]], names[prediction[i]], float(p))
        for i, p in zip(wrong[order].tolist(), probability[order], strict=True)
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
