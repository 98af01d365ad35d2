"""Bundles for the tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate import bundle, models
from striate.data import ClassMap
from striate.data._preprocessing import Preprocessing

GREY = Preprocessing(channels=1, size=(28, 28), border=2, mean=(0.1307,), std=(0.3081,))


def state(name: str = "lenet5-modern", classes: int = 4, seed: int = 0, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return models.build(name, classes=classes, channels=1, size=(32, 32), **options).state_dict()


def images(n: int, preprocessing: Preprocessing = GREY) -> np.ndarray:
    shape = (n, preprocessing.channels, *preprocessing.size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, **changes: Any) -> Path:
    """Save a small LeNet-5 of four classes, with whatever a test wants otherwise."""
    arguments: dict[str, Any] = {
        "model_name": "lenet5-modern",
        "model_options": {},
        "classes": ClassMap(["ant", "bee", "cat", "汇聚"]),
        "preprocessing": GREY,
        "temperature": 1.75,
        "metrics": {"accuracy": 0.5, "per_class": [{"f1": None}]},
        "provenance": {"data": "digits", "seed": 0, "recipe": {"epochs": 3}},
        "golden_images": images(20),
        **changes,
    }
    if "state" not in arguments:
        name, options, classes = (arguments[key] for key in ("model_name", "model_options", "classes"))
        arguments["state"] = state(name, len(classes), **options)
    bundle.save(path, **arguments)
    return path
