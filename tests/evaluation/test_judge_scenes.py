"""Segmentations judged: against scikit-learn's counts and PyTorch's interpolation, at each picture's own size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from striate.data import VOID, ClassMap, DataOptions, Masks, Preprocessing, SceneSplit, open_data, require_scenes
from striate.errors import InputError
from striate.evaluation import SceneEvaluation, dense_logits, judge_scenes, mask_of, overlay, scene_views
from striate.evaluation import _dense as dense

SIZE = (12, 16)


class Scripted(nn.Module):
    """Gives fixed random scores, each picture its own by its mean shade; counts the pictures in a batch."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(256, classes, *SIZE, generator=torch.Generator().manual_seed(0)))
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        self.most = max(self.most, len(x))
        shades = (x.mean((1, 2, 3)) * 255).round().long().clamp(0, 255)
        return self.table[shades]


def write(root: Path, sizes: list[tuple[int, int]], *, classes: int = 3, void: bool = True) -> None:
    """Plain pictures of different shades and sizes with random masks."""
    generator = np.random.default_rng(3)
    for folder in ("train/images", "train/masks", "val/images", "val/masks", "test/images", "test/masks"):
        (root / folder).mkdir(parents=True)
    for part in ("train", "val", "test"):
        for k, size in enumerate(sizes):
            labels = generator.integers(0, classes, size).astype(np.uint8)
            if void:
                labels[generator.random(size) < 0.2] = VOID
            Image.fromarray(np.full((*size, 3), 12 * k + 10, np.uint8)).save(root / part / "images" / f"{k:02}.png")
            Image.fromarray(labels).save(root / part / "masks" / f"{k:02}.png")


SIZES = [(12, 16), (25, 30), (7, 9), (40, 11), (13, 16), (12, 17), (30, 40), (1, 1), (5, 50)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "scenes", SIZES)
    return tmp_path / "scenes"


def opened(root: Path, fit: str = "stretch", border: int = 0) -> tuple[SceneSplit, Preprocessing, ClassMap]:
    size = (SIZE[0] - 2 * border, SIZE[1] - 2 * border)
    options = DataOptions(channels=3, size=size, fit=fit, border=border, task="segmentation")  # type: ignore[arg-type]
    data = open_data(root, options, seed=0)
    return require_scenes(data.splits["test"]), data.preprocessing, data.classes


def independent(model: nn.Module, split: SceneSplit, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Every known pixel's label and prediction, with PyTorch's interpolation and the files as Pillow reads them."""
    truths, found = [], []
    for k, name in enumerate(split.ids):
        truth = np.asarray(Image.open(split.root / name.replace("images", "masks")))
        scores = model(preprocessing(torch.from_numpy(split.load([k]))))
        border = preprocessing.border
        scores = scores[:, :, border : scores.shape[2] - border, border : scores.shape[3] - border]
        if preprocessing.fit == "pad":
            scale = min(scores.shape[3] / truth.shape[1], scores.shape[2] / truth.shape[0])
            height = min(scores.shape[2], max(1, round(truth.shape[0] * scale)))
            width = min(scores.shape[3], max(1, round(truth.shape[1] * scale)))
            top, left = (scores.shape[2] - height) // 2, (scores.shape[3] - width) // 2
            scores = scores[:, :, top : top + height, left : left + width]
        full = interpolate(scores.double(), truth.shape, mode="bilinear", align_corners=False)
        known = truth != VOID
        truths.append(truth[known])
        found.append(full.argmax(1)[0].numpy()[known])
    return np.concatenate(truths), np.concatenate(found)


@pytest.mark.parametrize(("fit", "border"), [("stretch", 0), ("pad", 0), ("pad", 2)])
def test_every_pixel_is_counted_as_scikit_learn_counts_it(root: Path, fit: str, border: int) -> None:
    model = Scripted().eval()
    split, preprocessing, classes = opened(root, fit, border)
    result = judge_scenes(model, split, preprocessing, classes, batch_size=4)
    truth, found = independent(model, split, preprocessing)
    np.testing.assert_array_equal(result.confusion, confusion_matrix(truth, found, labels=range(3)))
    ious = jaccard_score(truth, found, labels=range(3), average=None)
    np.testing.assert_allclose([score.iou for score in result.per_class], ious, rtol=1e-12)
    assert result.mean_iou == pytest.approx(jaccard_score(truth, found, average="macro"), rel=1e-12)
    weighted = jaccard_score(truth, found, average="weighted")
    assert result.frequency_weighted_iou == pytest.approx(weighted, rel=1e-12)
    assert result.accuracy == pytest.approx(accuracy_score(truth, found), rel=1e-12)
    assert (result.correct, result.total) == (int((truth == found).sum()), len(truth))
    recalls = [(found[truth == k] == k).mean() for k in range(3)]
    assert result.mean_accuracy == pytest.approx(np.mean(recalls), rel=1e-12)
    assert result.pictures == len(SIZES)
    assert model.most == 4, "never more pictures at a time than asked for"


def test_the_loss_is_that_of_the_known_pixels_at_the_networks_size(root: Path) -> None:
    model = Scripted().eval()
    split, preprocessing, classes = opened(root)
    logits = model(preprocessing(torch.from_numpy(split.load(range(len(split)))))).double()
    targets = torch.from_numpy(split.targets(range(len(split)))).long()
    expected = cross_entropy(logits, targets, ignore_index=VOID).item()
    assert judge_scenes(model, split, preprocessing, classes).nll == pytest.approx(expected, rel=1e-6)


def test_the_batch_size_changes_no_count(root: Path) -> None:
    split, preprocessing, classes = opened(root)
    one, all_ = (judge_scenes(Scripted(), split, preprocessing, classes, batch_size=size) for size in (1, 100))
    assert one.confusion == all_.confusion
    assert one.worst == all_.worst


def test_the_worst_pictures_come_first(root: Path) -> None:
    split, preprocessing, classes = opened(root)
    result = judge_scenes(Scripted(), split, preprocessing, classes)
    accuracies = [picture.accuracy for picture in result.worst]
    assert accuracies == sorted(accuracies)
    assert len(accuracies) <= len(SIZES)
    for picture in result.worst:
        alone = judge_scenes(Scripted(), split.subset([picture.index]), preprocessing, classes)
        assert (alone.correct, alone.total, split.ids[picture.index]) == (picture.correct, picture.total, picture.id)


def test_no_more_than_twelve_pictures_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "many", [(4, 4)] * 15)
    result = judge_scenes(Scripted(), *opened(tmp_path / "many"))
    assert (len(result.worst), result.pictures) == (12, 15)


def test_a_class_that_is_neither_there_nor_predicted_has_no_iou() -> None:
    result = SceneEvaluation(("a", "b", "c"), 1, ((3, 1, 0), (1, 5, 0), (0, 0, 0)), 0.5, ())
    assert [score.iou for score in result.per_class] == [3 / 5, 5 / 7, None]
    assert result.mean_iou == pytest.approx((3 / 5 + 5 / 7) / 2)
    assert result.per_class[2].recall is None
    assert "c" in result.as_text()
    never_found = SceneEvaluation(("a", "b"), 1, ((3, 0), (2, 0)), 0.5, ())
    assert never_found.per_class[1].iou == 0.0, "there, and never found"
    assert never_found.per_class[1].precision is None


@pytest.mark.parametrize("own", [(12, 16), (25, 30), (7, 9), (1, 1), (200, 3), (3, 200)])
@pytest.mark.parametrize("block", [1 << 22, 50])
def test_masks_are_interpolated_as_pytorch_does(
    own: tuple[int, int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when only a few rows are enlarged at a time."""
    monkeypatch.setattr(dense, "_BLOCK", block)
    scores = torch.randn(5, *SIZE, generator=torch.Generator().manual_seed(own[0]), dtype=torch.float64)
    expected = interpolate(scores[None], own, mode="bilinear", align_corners=False)[0].argmax(0)
    np.testing.assert_array_equal(mask_of(scores, own, Preprocessing(3, SIZE)), expected)


def test_what_cannot_be_judged_is_one_sentence(root: Path, tmp_path: Path) -> None:
    split, preprocessing, classes = opened(root)
    with pytest.raises(InputError, match="nothing to judge, the split has no pictures"):
        judge_scenes(Scripted(), split.subset([]), preprocessing, classes)
    broken = Scripted()
    broken.table.data[22] = float("nan")  # the shade of 01.png
    with pytest.raises(InputError, match=r"the logits of test/images/01\.png are not finite; the model has diverged"):
        judge_scenes(broken, split, preprocessing, classes)
    with pytest.raises(InputError, match="expected logits of 3 classes, got 4"):
        judge_scenes(Scripted(4), split, preprocessing, classes)
    for mask in (root / "test" / "masks").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(mask)), VOID)).save(mask)
    with pytest.raises(InputError, match="every pixel of the masks is void"):
        judge_scenes(Scripted(), *opened(root))


def test_a_classifier_and_a_window_are_refused() -> None:
    pictures = np.zeros((2, 3, *SIZE), np.uint8)
    with pytest.raises(InputError, match=r"must return logits 2 x K x 12 x 16, one row per pixel, got \(2, 576\)"):
        dense_logits(nn.Flatten(), pictures, Preprocessing(3, SIZE))
    with pytest.raises(InputError, match=r"must not cut a window out \(crop_to\)"):
        dense_logits(nn.Identity(), pictures, Preprocessing(3, SIZE, crop_to=(8, 8)))


def test_an_evaluation_survives_json(root: Path) -> None:
    result = judge_scenes(Scripted(), *opened(root))
    again = SceneEvaluation.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert again == result
    assert result.to_json()["mean_iou"] == result.mean_iou
    with pytest.raises(InputError, match="not a description this version understands"):
        SceneEvaluation.from_json({"classes": ["a"]})


def test_the_text_fits_a_terminal(root: Path) -> None:
    text = judge_scenes(Scripted(), *opened(root)).as_text()
    assert "mean IoU" in text
    assert "most often confused" in text
    assert max(map(len, text.splitlines())) <= 100


def test_void_pixels_show_the_picture() -> None:
    masks = Masks((0, 1), ((255, 0, 0), (0, 0, 255)))
    picture = np.full((3, 1, 3), 100, np.uint8)
    drawn = overlay(picture, np.array([[0, 1, VOID]], np.uint8), masks)
    assert drawn[:, 0].T.tolist() == [[193, 40, 40], [40, 40, 193], [100, 100, 100]]


def test_a_view_has_picture_mask_and_prediction(root: Path) -> None:
    split, preprocessing, _ = opened(root)
    index = split.ids.index("test/images/01.png")
    view = scene_views(Scripted(), split, preprocessing, index)
    assert view.shape == (3, 25, 30 * 3 + 2 * 6)
    np.testing.assert_array_equal(view[:, :, :30], 22)
    found = mask_of(dense_logits(Scripted(), split.load([index]), preprocessing)[0], (25, 30), preprocessing)
    picture = view[:, :, :30]
    np.testing.assert_array_equal(view[:, :, 36:66], overlay(picture, split.truth(index), split.meaning))
    np.testing.assert_array_equal(view[:, :, 72:], overlay(picture, found, split.meaning))
