"""Labels that are likely wrong, by what a network sees in the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.data.doctor._findings import Finding
from striate.errors import InputError

FOLDS = 5
_ITERATIONS = 200


@dataclass(frozen=True)
class LikelyError:
    """A picture (its row) that likely belongs to another class: both classes, and the probabilities of both.

    `confident`: the other class is as likely as it is, on average, for its own pictures.
    """

    row: int
    given: int
    likely: int
    p_given: float
    p_likely: float
    confident: bool

    @property
    def margin(self) -> float:
        """How much likelier the other class is."""
        return self.p_likely - self.p_given

    def finding(self, path: str, classes: Sequence[str]) -> Finding:
        """Say it of a path; training had better leave it out if that is confident."""
        words = (
            f"{path}: labelled {classes[self.given]!r}, {classes[self.likely]!r} is likelier "
            f"({100 * self.p_likely:.0f} % against {100 * self.p_given:.0f} %)"
        )
        return Finding("likely-label", (path,), words, (path,) * self.confident)


def likely_errors(features: ArrayLike, labels: ArrayLike, *, most: int = 50, seed: int = 0) -> list[LikelyError]:
    """Return the pictures whose label is likely wrong, by margin, at most `most` of them.

    features: N x D, what a network makes of the pictures; labels: N classes. Each picture is judged by a logistic
    regression on the features of the others (5 folds), so its own label has no part in it: another class is likelier.
    Which of them are confident is decided as in confident learning (Northcutt, Jiang and Chuang 2021). Classes with
    fewer than 5 pictures are passed over. Raises InputError if no two classes are left.
    """
    values, given = np.asarray(features, np.float64), np.asarray(labels, np.int64)
    if values.ndim != 2 or len(values) != len(given):
        raise InputError(f"likely_errors: expected N x D features and N labels, got {values.shape} and {given.shape}")
    classes, counts = np.unique(given, return_counts=True)
    judged = np.flatnonzero(np.isin(given, classes[counts >= FOLDS]))
    kept = np.unique(given[judged])
    if len(kept) < 2:
        raise InputError(f"likely_errors: expected two classes with {FOLDS} or more pictures, got {len(kept)}")
    probabilities = _out_of_fold(values[judged], given[judged], seed)
    rows = np.arange(len(judged))
    own = probabilities[rows, np.searchsorted(kept, given[judged])]
    usual = np.array([own[given[judged] == label].mean() for label in kept])  # of each class, for its own pictures
    best = probabilities.argmax(axis=1)
    likely = probabilities[rows, best]
    wrong = np.flatnonzero(kept[best] != given[judged])
    wrong = wrong[np.argsort(own[wrong] - likely[wrong], kind="stable")][:most]
    return [
        LikelyError(
            row=int(judged[k]),
            given=int(given[judged[k]]),
            likely=int(kept[best[k]]),
            p_given=float(own[k]),
            p_likely=float(likely[k]),
            confident=bool(likely[k] >= usual[best[k]]),
        )
        for k in wrong
    ]


def _out_of_fold(features: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return each row's probabilities from a model that has not seen the row, classes in sorted order."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=_ITERATIONS))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found: NDArray[np.float64] = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
    return found
