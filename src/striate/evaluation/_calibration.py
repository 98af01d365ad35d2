"""Are the probabilities true? Negative log-likelihood, reliability, expected calibration error, temperature."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

BINS = 15
TEMPERATURES = (0.05, 100.0)  # what `fit_temperature` keeps to: beyond it lies no evidence, only degenerate data
_MOST_STEPS = 100
_ENOUGH = 1e-10  # relative change of 1 / T at which the search ends

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in (low, high]: how many, how sure on average, how often right."""

    low: float
    high: float
    count: int
    confidence: float | None  # None where the bin is empty
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How true the probabilities softmax(logits / temperature) are."""

    temperature: float
    nll: float  # mean negative log-likelihood, in nats
    ece: float  # expected calibration error, 0..1
    bins: tuple[Bin, ...]  # the reliability diagram


def probabilities(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Return softmax(logits / temperature) along the last axis, in float64."""
    return np.exp(log_softmax(logits, temperature))


def log_softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Return log softmax(logits / temperature) along the last axis, in float64."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def calibration(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> Calibration:
    """Measure how true softmax(logits / temperature) is against the labels (N x K and N, N at least 1).

    Confidence is the probability of the predicted class. It falls into one of 15 bins of equal width, (b/15, (b+1)/15].
    The expected calibration error is the mean over all samples of |accuracy - mean confidence| of their bin
    (Guo et al., 2017, On Calibration of Modern Neural Networks, equation 3).
    """
    log_probabilities = log_softmax(logits, temperature)
    truth = np.asarray(labels, dtype=np.int64)
    confidence = np.exp(log_probabilities.max(axis=1))
    right = np.asarray(logits).argmax(axis=1) == truth  # of the logits: no temperature can change a prediction
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = tuple(_bin(b, confidence[place == b], right[place == b]) for b in range(BINS))
    gaps = (
        bin.count * abs(bin.accuracy - bin.confidence)
        for bin in bins
        if bin.accuracy is not None and bin.confidence is not None
    )
    nll = -float(log_probabilities[np.arange(len(truth)), truth].mean())
    return Calibration(float(temperature), max(nll, 0.0), float(sum(gaps) / len(truth)), bins)


def _bin(b: int, confidence: Floats, right: npt.NDArray[np.bool_]) -> Bin:
    count = len(confidence)
    mean = (float(confidence.mean()), float(right.mean())) if count else (None, None)
    return Bin(b / BINS, (b + 1) / BINS, count, *mean)


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Find the T in 0.05..100 that minimises the mean negative log-likelihood of softmax(logits / T).

    logits: N x K, labels: N; take them from the validation split, never from the test split. The likelihood is convex
    in 1 / T, so the minimum is unique (Guo et al., 2017, section 4.2). Two cases hold no evidence about T and give 1.0:
    no samples, and samples that are all predicted rightly (there the likelihood grows without end as T goes to 0, which
    would make the model claim certainty).
    """
    values, truth = _checked(logits, labels)
    own = values[np.arange(len(truth)), truth]
    if not len(truth) or bool((own >= values.max(axis=1)).all()):
        return 1.0
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]  # of beta = 1 / T
    if _slope(values, own, low)[0] >= 0:  # worse than guessing: the flatter the better
        return TEMPERATURES[1]
    if _slope(values, own, high)[0] <= 0:
        return TEMPERATURES[0]
    beta = 1.0
    for _ in range(_MOST_STEPS):  # Newton's method, kept inside a shrinking bracket by bisection
        slope, curvature = _slope(values, own, beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / curvature if curvature > 0 else low
        after = step if low < step < high else (low * high) ** 0.5
        beta, before = after, beta
        if abs(beta - before) <= _ENOUGH * before:
            break
    return float(1 / beta)


def _slope(values: Floats, own: Floats, beta: float) -> tuple[float, float]:
    """First and second derivative by beta of the mean NLL of softmax(beta * values)."""
    p = probabilities(values, 1 / beta)
    mean = (p * values).sum(axis=1)
    variance = (p * (values - mean[:, None]) ** 2).sum(axis=1)
    return float((mean - own).mean()), float(variance.mean())


def _checked(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Integers]:
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if values.ndim != 2 or truth.ndim != 1 or len(values) != len(truth):
        raise InputError(
            f"fit_temperature: expected logits N x K and N labels, got shapes {values.shape} and {truth.shape}"
        )
    if len(truth) and (truth.min() < 0 or truth.max() >= values.shape[1]):
        raise InputError(
            f"fit_temperature: labels must lie in 0..{values.shape[1] - 1}, got {truth.min()}..{truth.max()}"
        )
    if not np.isfinite(values).all():
        raise InputError("fit_temperature: the logits must be finite numbers, some are not; the model has diverged")
    return values - values.max(axis=1, keepdims=True, initial=-np.inf), truth
