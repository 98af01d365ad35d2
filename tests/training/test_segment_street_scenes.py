"""The example that labels street scenes: its guess by hand, and a run of it on a few plain pictures."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from striate.data import DataOptions, open_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "segment_street_scenes.py"


@pytest.fixture
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Road and sky in the colours of their labels, the horizon anywhere, every other upside down; a column is void."""
    draw = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for folder in (tmp_path / split, tmp_path / f"{split}annot"):
            folder.mkdir()
        for number in range(7):
            labels = np.zeros((32, 48), np.uint8)
            labels[draw.integers(6, 28) :] = 3
            labels = labels[:: 1 - 2 * (number % 2)].copy()
            picture = np.stack([labels * 60 + 30, 200 - labels * 50, labels], 2) + draw.integers(0, 9, (32, 48, 3))
            labels[:, 5] = 11
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / split / f"{number}.jpg")
            Image.fromarray(labels).save(tmp_path / f"{split}annot" / f"{number}.png")
    return tmp_path


def test_the_guess_is_the_most_frequent_label_of_each_position(example: dict[str, Any], streets: Path) -> None:
    def masks(part: str) -> np.ndarray:
        return np.stack([np.asarray(Image.open(path)) for path in sorted((streets / f"{part}annot").iterdir())])

    guess = np.where((masks("train") == 3).sum(0) > (masks("train") == 0).sum(0), 3, 0)
    test = masks("test")
    known = test != 11
    expected = jaccard_score(test[known], np.broadcast_to(guess, test.shape)[known], average="macro")
    data = open_data(streets, DataOptions(channels=3, size=(32, 48), task="segmentation", void=11), seed=0)
    assert example["best_guess"](data).mean_iou == pytest.approx(expected)


@pytest.mark.slow
def test_it_keeps_its_claim_on_plain_pictures(
    example: dict[str, Any], streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["data.size=32,48", "data.crop_to=none", "augmentation.zoom=1,1", "epochs=25", "batch_size=2"]
    settings += ["model.options.width=0.06"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["example", str(streets), "--out", str(tmp_path / "run"), *arguments])
    example["main"]()
    assert (tmp_path / "run" / "report.html").is_file()
