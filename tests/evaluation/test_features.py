"""What enters the last layer with weights, whatever the network is."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.data import ArraySplit, Preprocessing
from striate.errors import InputError
from striate.evaluation import penultimate_features, predict_logits
from striate.models import build

GREY = Preprocessing(1, (28, 28), border=2)


def some_pictures(count: int = 5) -> ArraySplit:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return ArraySplit([str(k) for k in range(count)], np.zeros(count), images)


@pytest.mark.parametrize("batch_size", [2, 256])
def test_the_last_layer_makes_the_logits_of_them(batch_size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).train()
    features = penultimate_features(model, some_pictures(), GREY, batch_size=batch_size)
    assert features.shape == (5, 16)
    logits = predict_logits(model, some_pictures(), GREY)
    with torch.no_grad():
        np.testing.assert_allclose(model[-1](torch.from_numpy(features)), logits, rtol=1e-5, atol=1e-6)
    assert model.training, "the mode is what it was"
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_maps_are_averaged() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = penultimate_features(model, some_pictures(), GREY)
    inputs = GREY(torch.from_numpy(some_pictures().images))
    with torch.no_grad():
        np.testing.assert_allclose(features, model[0](inputs).mean(dim=(2, 3)), rtol=1e-4, atol=1e-6)


def test_of_our_networks() -> None:
    split = some_pictures(2)
    assert penultimate_features(build("convnet", classes=3, channels=1, size=(32, 32)), split, GREY).shape[0] == 2
    assert penultimate_features(build("lenet5", classes=10, channels=1, size=(32, 32)), split, GREY).shape == (2, 84)
    told: list[tuple[int, int, str]] = []
    model = build("lenet5", classes=10, channels=1, size=(32, 32))
    penultimate_features(model, split, GREY, batch_size=1, progress=lambda *step: told.append(step))
    assert told == [(1, 2, "looking at pictures"), (2, 2, "looking at pictures")]


def test_nothing_to_look_at() -> None:
    assert penultimate_features(nn.Linear(2, 2), some_pictures(0), GREY).shape == (0, 0)
    with pytest.raises(InputError, match="Sequential has no layer with weights"):
        penultimate_features(nn.Sequential(nn.Flatten()), some_pictures(), GREY)
