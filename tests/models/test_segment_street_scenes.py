"""The example that labels street scenes: its measure by hand, its baselines, its pictures, one short training."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "segment_street_scenes.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Road below, sky above, in the colours of their labels; one column is void."""
    data, draw = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for folder in (data / split, data / f"{split}annot"):
            folder.mkdir()
        for number in range(6):
            labels = np.zeros((64, 96), np.uint8)
            labels[draw.integers(16, 48) :] = 3
            picture = np.stack([labels * 60 + 30, 200 - labels * 50, labels], 2) + draw.integers(0, 9, (64, 96, 3))
            labels[:, 5] = 11
            Image.fromarray(picture.astype(np.uint8)).save(data / split / f"{number}.jpg")
            Image.fromarray(labels).save(data / f"{split}annot" / f"{number}.png")
    return data


def test_intersection_over_union_by_hand(example: dict[str, Any]) -> None:
    """Labels 0 0 1 1 void, predicted 0 1 1 1 0: class 0 has 1 of 2, class 1 has 2 of 3, the others are not there."""
    counts = example["confusion"](torch.tensor([0, 1, 1, 1, 0]), torch.tensor([0, 0, 1, 1, 11], dtype=torch.uint8))
    assert counts.sum() == 4
    assert counts[0, :2].tolist() == [1, 1]
    assert counts[1, :2].tolist() == [0, 2]
    shares = example["intersection_over_union"](counts)
    assert shares[:2].tolist() == [1 / 2, 2 / 3]
    assert shares[2:].isnan().all()
    assert example["mean_iou"](counts) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_it_reads_pictures_with_their_labels(example: dict[str, Any], folders: Path) -> None:
    split = example["read"](folders, "train", None)
    assert split.pictures.shape == (6, 3, 64, 96)
    assert split.labels.shape == (6, 64, 96)
    assert split.labels.unique().tolist() == [0, 3, 11]
    assert len(example["read"](folders, "val", 2).labels) == 2


def test_guesses_that_do_not_look(example: dict[str, Any]) -> None:
    split = type(example["Split"](0, 0))
    train = split(None, torch.tensor([[[0, 3, 3]], [[0, 3, 0]], [[0, 3, 3]]], dtype=torch.uint8))
    test = split(None, torch.tensor([[[0, 3, 0]]], dtype=torch.uint8))
    guesses = example["best_guess"](train, test)
    # always road: 1 of 3, sky missed; by position 0 3 3: sky 1 of 2, road 1 of 2
    assert guesses == {"always road": pytest.approx(1 / 6), "the position's most frequent label": pytest.approx(1 / 2)}


def test_crops_keep_pixels_and_labels_together(example: dict[str, Any]) -> None:
    """A picture that shows its labels still does, whatever crop, mirror and gain."""
    labels = torch.randint(1, 11, (3, 170, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = (labels[:, None] * 10).expand(-1, 3, -1, -1).contiguous()
    out = example["augmented"](example["Split"](pictures, labels), torch.arange(3), torch.Generator().manual_seed(1))
    assert out.labels.shape == (3, 161, 193)
    for picture, label in zip(out.pictures, out.labels, strict=True):
        gain = picture[0] / (10 * label)
        torch.testing.assert_close(gain, gain[0, 0].expand_as(gain))


def test_rare_classes_count_more(example: dict[str, Any]) -> None:
    labels = torch.tensor([0] * 100 + [3] * 25 + [11] * 7, dtype=torch.uint8)
    weights = example["class_weights"](labels)
    assert weights[3] / weights[0] == pytest.approx(2.0)


@pytest.mark.slow
def test_it_learns_two_labels_in_a_few_steps(
    example: dict[str, Any], folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    train = example["read"](folders, "train", None)
    scale = example["Scale"].of(train.pictures)
    model = example["build"]("deeplab-v2-resnet101", classes=11, channels=3, size=(64, 96), width=1 / 32)
    example["train"](model, train, scale, epochs=4, batch=3, rate=1e-2)
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 3
    counts = example["evaluate"](model, example["read"](folders, "test", 1), scale, crf=True)
    assert counts.sum() == 64 * 95
