"""An evaluation against scikit-learn and against counts made by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from striate.data import ClassMap
from striate.errors import InputError
from striate.evaluation import Evaluation, fit_temperature, judge
from striate.evaluation._evaluation import WORST, wilson
from striate.evaluation._text import percent


def classes(*names: str) -> ClassMap:
    return ClassMap(names)


def random_case(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, ClassMap, list[str]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k)).astype(np.float32)
    logits[np.arange(n), labels] += 1.5
    return logits, labels, classes(*(f"c{i}" for i in range(k))), [f"s{i}" for i in range(n)]


@pytest.mark.parametrize(("n", "k"), [(1, 2), (7, 3), (500, 10), (333, 25)])
def test_metrics_equal_scikit_learn(n, k):
    logits, labels, names, ids = random_case(n, k)
    result = judge(logits, labels, names, ids, temperature=1.3)
    predicted = logits.argmax(axis=1)
    assert result.accuracy == accuracy_score(labels, predicted)
    assert (result.correct, result.total) == ((predicted == labels).sum(), n)
    assert np.array_equal(result.confusion, confusion_matrix(labels, predicted, labels=range(k)))
    p, r, f, s = precision_recall_fscore_support(labels, predicted, labels=range(k), zero_division=0)
    assert [score.precision or 0 for score in result.per_class] == pytest.approx(p)
    assert [score.recall or 0 for score in result.per_class] == pytest.approx(r)
    assert [score.f1 or 0 for score in result.per_class] == pytest.approx(f)
    assert [score.support for score in result.per_class] == s.tolist()
    assert result.mean.f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    if k > 5:
        assert result.top5_correct == round(top_k_accuracy_score(labels, logits, k=5, labels=range(k)) * n)
    else:
        assert result.top5_correct is None


def three() -> Evaluation:
    # truth 0 0 1 1, predicted 0 1 1 0; the class "never" has neither samples nor predictions
    logits = [[2.0, 0.0, -9.0], [0.0, 1.0, -9.0], [0.0, 3.0, -9.0], [4.0, 0.0, -9.0]]
    return judge(logits, [0, 0, 1, 1], classes("a", "b", "never"), ["p", "q", "r", "s"])


def test_undefined_scores_are_none_and_shown_as_a_dash():
    never = three().per_class[2]
    assert (never.precision, never.recall, never.f1, never.support) == (None, None, None, 0)
    row = next(line for line in three().as_text().splitlines() if line.startswith("never"))
    assert row.split() == ["never", "–", "–", "–", "0"]
    assert three().mean.f1 == 0.5


def test_called_but_absent_and_present_but_never_called():
    result = judge([[1.0, 0.0], [1.0, 0.0]], [1, 1], classes("called", "present"), ["x", "y"])
    called, present = result.per_class
    assert (called.precision, called.recall, called.f1) == (0.0, None, 0.0)
    assert (present.precision, present.recall, present.f1) == (None, 0.0, 0.0)


def test_rows_of_the_confusion_are_the_truth():
    result = judge([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [0, 0, 1], classes("a", "b"), list("xyz"))
    assert result.confusion == ((0, 2), (1, 0))
    assert result.confused == [("a", "b", 2), ("b", "a", 1)]


def test_worst_mistakes_are_the_most_confident_ones():
    worst = three().worst
    assert [(m.index, m.id, m.truth, m.prediction) for m in worst] == [(3, "s", "b", "a"), (1, "q", "a", "b")]
    assert worst[0].probability == pytest.approx(np.exp(4) / (np.exp(4) + 1), rel=1e-4)
    softer = judge([[4.0, 0.0]], [1], classes("a", "b"), ["s"], temperature=4.0).worst
    assert softer[0].probability == pytest.approx(np.e / (np.e + 1))


def test_mistakes_are_limited_and_perfection_has_none():
    logits, labels, names, ids = random_case(500, 10)
    assert len(judge(logits, labels, names, ids).worst) == WORST
    perfect = judge(np.eye(3), [0, 1, 2], classes("a", "b", "c"), list("xyz"))
    assert (perfect.worst, perfect.confused, perfect.accuracy) == ((), [], 1.0)


def test_each_class_has_the_interval_of_its_recall():
    logits = np.eye(3)[[0] * 9 + [1] * 3]
    scores = judge(logits, [0] * 10 + [1] * 2, classes("a", "b", "c"), list("abcdefghijkl")).per_class
    assert scores[0].interval == pytest.approx((0.5958, 0.9821), abs=1e-4)  # 9 of 10
    assert scores[1].interval == wilson(2, 2)
    assert scores[2].interval is None


def test_a_tie_goes_to_the_first_class_everywhere():
    result = judge(np.zeros((1, 7)), [4], classes(*"abcdefg"), ["x"])
    assert (result.worst[0].prediction, result.top5_correct) == ("a", 1)
    assert judge(np.zeros((1, 7)), [5], classes(*"abcdefg"), ["x"]).top5_correct == 0


def test_wilson_interval_against_published_numbers():
    # Newcombe (1998), Statistics in Medicine 17, table I: Wilson score intervals of four proportions
    for correct, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 3)[0] == 0.0
    assert wilson(3, 3)[1] == 1.0
    assert wilson(20, 20)[0] == pytest.approx(1 - 0.1611, abs=5e-5)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_json_round_trip_is_exact_and_free_of_nan(k):
    logits, labels, names, ids = random_case(40, k, seed=k)
    result = judge(logits, labels, names, ids, temperature=0.77)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == result
    assert json.loads(text)["accuracy"] == result.accuracy
    assert json.loads(text)["interval"] == list(result.interval)


def test_json_with_more_in_it_is_still_an_evaluation():
    assert Evaluation.from_json({"split": "test", **three().to_json()}) == three()


@pytest.mark.parametrize("values", [{}, {"classes": 3}, [1], {"classes": ["a"]}, None])
def test_json_of_something_else_is_refused(values):
    with pytest.raises(InputError, match="evaluation: not a description this version understands"):
        Evaluation.from_json(values)


def test_calibration_before_and_after():
    logits, labels, names, ids = random_case(400, 4)
    temperature = fit_temperature(logits * 10, labels)
    result = judge(logits * 10, labels, names, ids, temperature=temperature)
    assert result.temperature == temperature
    assert result.nll_calibrated < result.nll
    assert result.ece_calibrated < result.ece
    assert judge(logits, labels, names, ids).calibrated == judge(logits, labels, names, ids).uncalibrated


def test_text_of_a_small_case():
    assert three().as_text().splitlines()[:2] == [
        "accuracy 50.00 % (2 of 4), 95 % interval 15.00 % to 85.00 %",
        "negative log-likelihood 1.3767, calibrated 1.3767 (temperature 1.000)",
    ]
    assert "  b taken for a: 1" in three().as_text().splitlines()


def test_text_aligns_wide_names_and_disarms_control_characters():
    result = judge(np.eye(3), [0, 1, 2], classes("汇聚", "\x1b[31mred\n", "x" * 99), list("xyz"))
    text = result.as_text()
    assert "\x1b" not in text
    assert "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}" in text
    from rich.cells import cell_len

    table = [line for line in text.splitlines() if line.endswith(" 1")]
    assert len(table) == 3
    assert len({cell_len(line) for line in table}) == 1


def test_text_of_many_classes_shows_the_weakest():
    logits, labels, names, ids = random_case(900, 100)
    text = judge(logits, labels, names, ids).as_text()
    assert "(the 30 classes of lowest F1 out of 100)" in text
    assert len(text.splitlines()) < 50


def test_percentages_never_round_to_a_claim():
    assert percent(1.0) == "100.00 %"
    assert percent(0.999999) == ">99.99 %"
    assert percent(1e-9) == "<0.01 %"
    assert percent(0.0) == "0.00 %"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("logits", "labels", "ids", "temperature", "message"),
    [
        (np.zeros((2, 4)), [0, 1], "ab", 1.0, r"expected logits N x 3, one column per class, got shape \(2, 4\)"),
        (np.zeros(3), [0], "a", 1.0, r"got shape \(3,\)"),
        (np.zeros((2, 3)), [0], "ab", 1.0, r"2 rows of logits need as many labels and ids, got \(1,\), 2"),
        (np.zeros((2, 3)), [0, 1], "abc", 1.0, r"got \(2,\), 3"),
        (np.zeros((0, 3)), [], "", 1.0, "nothing to judge, the split has no samples"),
        (np.zeros((2, 3)), [0, 3], "ab", 1.0, r"labels must be whole numbers in 0\.\.2, got int64 in 0\.\.3"),
        (np.zeros((2, 3)), [0, -1], "ab", 1.0, r"in -1\.\.0"),
        (np.zeros((1, 3)), [0.5], "a", 1.0, "got float64"),
        ([[0, 0, 0], [np.nan, 0, 0]], [0, 1], "ab", 1.0, r"logits of 1 of 2 samples are not finite \(first: b\)"),
        (np.zeros((1, 3)), [0], "a", 0.0, "temperature must be a finite number above 0, got 0.0"),
        (np.zeros((1, 3)), [0], "a", float("nan"), "temperature must be a finite number above 0, got nan"),
    ],
)
def test_what_does_not_fit_together_is_refused(logits, labels, ids, temperature, message):
    with pytest.raises(InputError, match=message):
        judge(logits, labels, classes("a", "b", "c"), list(ids), temperature=temperature)
