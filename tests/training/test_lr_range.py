"""The learning-rate range test: against a quadratic whose largest stable rate is known, and on the embedded digits."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.data import Augmentation
from striate.errors import InputError, Interrupted
from striate.training import InitialWeights, LrRange, fit, lr_range, named_recipe
from striate.training._lr_range import judged, range_test

RECIPE = named_recipe("lenet5-modern").set(["batch_size=32"]).replace(augmentation=Augmentation())


def quadratic(curvatures: list[float], rates: list[float], spread: float = 0.1) -> Iterator[tuple[float, float]]:
    """Losses of plain gradient descent on the sum of c x^2 / 2; each batch has its minimum a little elsewhere."""
    generator = np.random.default_rng(0)
    c = np.array(curvatures)
    x = np.ones_like(c)
    for rate in rates:
        yield rate, float((c * x * x).sum() / 2)
        x = x - rate * c * (x - spread * generator.standard_normal(len(c)))


@pytest.mark.parametrize("largest", [0.5, 8.0, 200.0])
def test_the_explosion_is_where_theory_has_it(largest: float) -> None:
    """Without momentum steps diverge beyond 2 / L; the smoothed loss shows it a few steps later."""
    curvatures = [largest, largest / 10, largest / 50]
    readings, exploded = range_test(quadratic(curvatures, np.geomspace(1e-6, 100, 400).tolist()))
    assert exploded is not None
    assert 1.0 < exploded / (2 / largest) < 2.0
    found = judged(readings, exploded)
    assert found.suggestion == pytest.approx(exploded / 10, rel=0.05)
    assert found.suggestion < 2 / largest, "the suggestion is stable"


def test_the_smoothed_loss_is_the_mean_with_weights_that_decay() -> None:
    losses = [3.0, 1.0, 2.0, 2.5]
    readings, exploded = range_test(zip([1e-3, 2e-3, 3e-3, 4e-3], losses, strict=True))
    for k, reading in enumerate(readings):
        weights = 0.9 ** np.arange(k, -1, -1)
        assert reading.smoothed == pytest.approx(np.average(losses[: k + 1], weights=weights))
    assert exploded is None


def test_it_ends_as_soon_as_the_loss_runs_away() -> None:
    def losses() -> Iterator[tuple[float, float]]:
        for k in range(30):
            yield 1e-3 * 1.5**k, 2.0 - k / 20
        yield 500.0, math.inf
        raise AssertionError("asked for a step after the loss was no number")

    readings, exploded = range_test(losses())
    assert exploded == 500.0
    assert readings[-1] == (500.0, None, None)


def test_the_steepest_rate_where_nothing_runs_away() -> None:
    rates = np.geomspace(1e-5, 1, 200)
    falling = 1 + 1 / (1 + np.exp(6 * np.log10(rates / 1e-3)))  # a step from 2 to 1 with its middle at 0.001
    found = judged(*range_test(zip(rates.tolist(), falling.tolist(), strict=True)))
    assert found.exploded is None
    assert found.suggestion is not None
    assert 1e-3 <= found.suggestion < 3e-3, "smoothing comes a few steps late"
    assert "a higher rate may do as well" in found.rule


@pytest.mark.parametrize(("end", "words"), [(2.3, "does not fall at any"), (math.inf, "before it has fallen")])
def test_no_rate_is_suggested_where_the_loss_does_not_fall(end: float, words: str) -> None:
    flat = [(1e-3 * 1.1**k, 2.3) for k in range(40)]
    found = judged(*range_test([*flat, (1.0, end)]))
    assert found.suggestion is None
    assert words in found.rule


@pytest.fixture(scope="module")
def found() -> LrRange:
    return lr_range(RECIPE, "digits", steps=60, lowest=1e-4)


def test_it_is_a_function_of_the_seed(found: LrRange) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = lr_range(RECIPE, "digits", steps=60, lowest=1e-4)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are left alone"
    assert again == found
    assert lr_range(RECIPE.replace(seed=1), "digits", steps=60, lowest=1e-4) != found


def test_the_suggestion_trains_and_what_ran_away_does_not(found: LrRange, tmp_path: Path) -> None:
    assert found.suggestion is not None
    assert found.exploded is not None
    short = RECIPE.replace(epochs=2)
    good = fit(short.set([f"optimizer.lr={found.suggestion}"]), "digits", tmp_path / "good", threads=1)
    bad = fit(short.set([f"optimizer.lr={3 * found.exploded}"]), "digits", tmp_path / "bad", threads=1)
    assert good.evaluation.accuracy > 0.85
    assert bad.evaluation.accuracy < 0.5


def test_it_begins_with_the_weights_that_training_would_begin_with(tmp_path: Path, found: LrRange) -> None:
    trained = fit(RECIPE.replace(epochs=2), "digits", tmp_path / "run", threads=1)
    weights = InitialWeights.of_tensors("trained", trained.model.state_dict())
    tuned = lr_range(RECIPE, "digits", steps=60, lowest=1e-4, weights=weights)
    began, before = tuned.readings[0].loss, found.readings[0].loss
    assert began is not None
    assert before is not None
    assert began < before / 4


def test_it_can_be_stopped() -> None:
    asked = iter([False] * 3 + [True] * 9)
    with pytest.raises(Interrupted, match="nothing was written"):
        lr_range(RECIPE, "digits", stop=lambda: next(asked))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lowest": 0.0}, "must rise from above 0, got 0 to 10"),
        ({"lowest": 1.0, "highest": 0.1}, "must rise from above 0, got 1 to 0.1"),
        ({"highest": math.inf}, "got 1e-06 to inf"),
        ({"steps": 5}, "5 steps are too few to see a slope; take 18 or more"),
    ],
)
def test_bad_input(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        lr_range(RECIPE, "digits", **settings)  # type: ignore[arg-type]
