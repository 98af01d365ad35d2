"""Temperature, negative log-likelihood and calibration error against SciPy, scikit-learn and numbers worked by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax as scipy_log_softmax
from sklearn.metrics import log_loss

from striate.errors import InputError
from striate.evaluation import fit_temperature
from striate.evaluation._calibration import BINS, TEMPERATURES, calibration, log_softmax


def sampled(temperature: float, n: int = 4000, k: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true probabilities are softmax(logits / temperature), and labels drawn from those."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, k)) * 3 * temperature
    cumulative = np.exp(scipy_log_softmax(logits / temperature, axis=1)).cumsum(axis=1)
    labels = (generator.random((n, 1)) > cumulative).sum(axis=1).clip(0, k - 1)
    return logits, labels


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return -float(scipy_log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("truth", [0.2, 0.7, 1.0, 2.5, 20.0])
def test_the_temperature_minimises_the_likelihood_and_finds_the_truth(truth):
    logits, labels = sampled(truth)
    found = fit_temperature(logits, labels)
    best = minimize_scalar(
        lambda log_t: nll(logits, labels, math.exp(log_t)), bounds=(-4, 5), method="bounded", options={"xatol": 1e-9}
    )
    assert found == pytest.approx(math.exp(best.x), rel=1e-5)
    assert found == pytest.approx(truth, rel=0.1)


def test_the_temperature_of_two_samples_by_hand():
    # logits (z, 0) with one of three samples wrong: p = 2/3 is best, so z / T = log 2
    logits = [[3.0, 0.0], [3.0, 0.0], [3.0, 0.0]]
    assert fit_temperature(logits, [0, 0, 1]) == pytest.approx(3 / math.log(2), rel=1e-9)


def test_a_shift_of_all_logits_changes_nothing_even_for_large_float32_logits():
    logits, labels = sampled(2.0, n=200)
    moved = logits + np.linspace(-1e6, 1e6, 200)[:, None]
    assert fit_temperature(moved, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_no_evidence_leaves_the_temperature_at_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert fit_temperature([[5.0, 0.0], [0.0, 0.1]], [0, 1]) == 1.0  # all right: sharper would always look better
    assert fit_temperature([[5.0, 0.0]], [0]) == 1.0
    assert fit_temperature([[1.0, 1.0]], [1]) == 1.0  # a tie at the top is no mistake that a temperature could show
    assert fit_temperature([[7.0], [2.0]], [0, 0]) == 1.0  # one class


def test_the_temperature_stays_in_its_range():
    assert fit_temperature([[5.0, 0.0], [0.0, 5.0]], [1, 0]) == TEMPERATURES[1]  # always wrong: as flat as possible
    tiny = np.array([[1e-6, 0.0], [1e-6, 0.0], [1e-6, 0.0], [0.0, 1e-9]])
    assert fit_temperature(tiny, [0, 0, 0, 0]) == TEMPERATURES[0]


def test_the_temperature_wants_fitting_arguments():
    with pytest.raises(InputError, match=r"expected logits N x K and N labels, got shapes \(2, 3\) and \(1,\)"):
        fit_temperature(np.zeros((2, 3)), [0])
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.2, got 0\.\.3"):
        fit_temperature(np.zeros((2, 3)), [0, 3])
    with pytest.raises(InputError, match="must be finite numbers, some are not; the model has diverged"):
        fit_temperature([[math.nan, 0.0]], [0])


def test_likelihood_equals_scikit_learn():
    logits, labels = sampled(1.5, n=300)
    for temperature in (1.0, 2.0):
        expected = log_loss(labels, np.exp(scipy_log_softmax(logits / temperature, axis=1)), labels=range(7))
        assert calibration(logits, labels, temperature).nll == pytest.approx(expected, rel=1e-12)


def test_log_softmax_does_not_overflow():
    assert log_softmax([[1e30, -1e30], [-1e4, -1e4]]).tolist() == [[0.0, -2e30], [-math.log(2), -math.log(2)]]


def test_calibration_error_by_hand():
    # confidences 0.9 (right, right, wrong) and 0.6 (wrong): |2/3 - 0.9| * 3/4 + |0 - 0.6| * 1/4
    logits = np.log([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.6, 0.4]])
    result = calibration(logits, [0, 1, 1, 1])
    assert result.ece == pytest.approx(abs(2 / 3 - 0.9) * 3 / 4 + 0.6 / 4, rel=1e-12)
    filled = {b: bin for b, bin in enumerate(result.bins) if bin.count}
    assert {b: bin.count for b, bin in filled.items()} == {13: 3, 8: 1}  # (13/15, 14/15] and (8/15, 9/15]
    assert filled[13].accuracy == pytest.approx(2 / 3)
    assert filled[13].confidence == pytest.approx(0.9)


def test_bins_cover_0_to_1_and_hold_every_sample_once():
    logits, labels = sampled(0.3, n=501, k=4)
    bins = calibration(logits, labels).bins
    assert len(bins) == BINS == 15
    assert bins[0].low == 0.0
    assert bins[-1].high == 1.0
    assert all(a.high == b.low for a, b in itertools.pairwise(bins))
    assert sum(bin.count for bin in bins) == 501
    assert all(bin.low < bin.confidence <= bin.high + 1e-12 for bin in bins if bin.confidence is not None)
    assert all((bin.confidence is None) == (bin.count == 0) == (bin.accuracy is None) for bin in bins)


def test_certainty_falls_into_the_last_bin():
    result = calibration([[1000.0, 0.0]], [0])
    assert (result.bins[-1].count, result.ece, result.nll) == (1, 0.0, 0.0)


def test_the_true_temperature_calibrates():
    logits, labels = sampled(3.0)
    assert calibration(logits, labels, 3.0).ece < 0.03 < 0.1 < calibration(logits, labels).ece
