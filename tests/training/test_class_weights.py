"""Weights of classes against scikit-learn's and their definition, and the loss that uses them."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from striate.errors import InputError
from striate.training import LossOptions, named_recipe
from striate.training._class_weights import class_weights, told_weights
from striate.training._losses import make_loss

COUNTS = np.array([3, 40, 17])
LABELS = np.repeat(range(3), COUNTS)


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights("balanced", COUNTS), expected)


@pytest.mark.parametrize(("kind", "power"), [("balanced", 1.0), ("root", 0.5)])
def test_weights_fall_with_the_count_and_are_one_in_the_mean(kind: str, power: float) -> None:
    found = class_weights(kind, COUNTS)  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_allclose(found / found[0], (COUNTS[0] / COUNTS) ** power)
    assert found[LABELS].mean() == pytest.approx(1.0)


def test_a_class_that_does_not_occur_weighs_nothing_and_none_is_no_weights() -> None:
    found = class_weights("balanced", [4, 0, 2])
    assert found is not None
    np.testing.assert_allclose(found, [0.75, 0.0, 1.5])
    assert class_weights("none", COUNTS) is None


def test_the_weighted_loss_is_the_weighted_mean_over_the_split_however_it_is_divided() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 3, generator=generator), torch.from_numpy(LABELS)
    weights = class_weights("balanced", COUNTS)
    assert weights is not None
    each = -logits.log_softmax(1)[torch.arange(60), labels] * torch.tensor(weights, dtype=torch.float32)[labels]
    loss = make_loss(LossOptions(class_weights="balanced"), weights)
    assert loss(logits, labels).item() == pytest.approx(each.mean().item(), rel=1e-6)
    order = torch.randperm(60, generator=generator)
    parts = [loss(logits[k], labels[k]) for k in order.split(12)]
    assert torch.stack(parts).mean().item() == pytest.approx(each.mean().item(), rel=1e-6)


def test_weights_are_told_from_the_heaviest_on_and_of_many_classes_some() -> None:
    assert told_weights({"cat": 0.5, "dog": 2.0}) == "dog 2, cat 0.5"
    assert told_weights({f"c{k}": float(k) for k in range(20)}) == (
        "c19 19, c18 18, c17 17, c16 16, c15 15, c14 14, ... 8 more, in run.json ..., "
        "c5 5, c4 4, c3 3, c2 2, c1 1, c0 0"
    )


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("loss.class_weights=root", "loss.class_weights=root: must be none with an RBF loss"),
        ("loss.class_weights=equal", "loss.class_weights=equal: expected one of none, balanced, root"),
    ],
)
def test_a_wrong_setting_is_one_sentence(setting: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        named_recipe("lenet5").set([setting])
    assert str(caught.value) == sentence
