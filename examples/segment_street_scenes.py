"""DeepLab v2 on ResNet-101, an eighth as wide as in its paper, learns from nothing to label street scenes on a CPU.

Claim: mean IoU on the test pictures exceeds by 0.10 that of the best guess without looking, the most frequent label of
every pixel position. DATA holds train, trainannot, val, valannot, test and testannot: pictures and, under the same
names, PNG label maps of 0 to 11, 11 being left out (CamVid in the form of the SegNet tutorial; 240 x 180 is enough).

Run: python examples/segment_street_scenes.py DATA   (about twenty minutes on one core; --epochs 2 for a try)
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.models import build
from striate.models.dense_crf import refine

NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
VOID = len(NAMES)
MARGIN = 0.10  # by which mean IoU must exceed the baseline's
CROP = (161, 193)  # at stride 8, scores lie on the first and the last pixel


class Split(NamedTuple):
    """Pictures N x 3 x H x W and their labels N x H x W, both uint8."""

    pictures: Tensor
    labels: Tensor


def read(data: Path, split: str, limit: int | None) -> Split:
    """Read a folder of pictures and its folder of label maps; files are matched by name."""
    files = sorted((data / split).iterdir())[:limit]
    maps = [data / f"{split}annot" / f"{file.stem}.png" for file in files]
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = np.stack([np.asarray(Image.open(file)) for file in maps])
    assert pictures.shape[:3] == labels.shape
    assert labels.max() <= VOID
    return Split(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels))


def confusion(predicted: Tensor, labels: Tensor) -> Tensor:
    """Count pixels by (label, prediction), void left out: classes x classes."""
    known = labels != VOID
    pairs = labels[known].long() * VOID + predicted[known].long()
    return torch.bincount(pairs, minlength=VOID * VOID).view(VOID, VOID)


def intersection_over_union(counts: Tensor) -> Tensor:
    """Return the IoU of each class, NaN for a class that is neither there nor predicted."""
    hit = counts.diagonal().double()
    return hit / (counts.sum(0) + counts.sum(1) - hit)


def mean_iou(counts: Tensor) -> float:
    """Return the mean over the classes that are there."""
    return float(intersection_over_union(counts).nanmean())


def best_guess(train: Split, test: Split) -> dict[str, float]:
    """Return the mean IoU of two guesses that do not look: one label everywhere, and one for every position."""
    votes = torch.stack([(train.labels == k).sum(0) for k in range(VOID)])
    overall = votes.sum((1, 2)).argmax().expand(test.labels.shape)
    by_position = votes.argmax(0).expand(test.labels.shape)
    return {
        f"always {NAMES[int(overall[0, 0, 0])]}": mean_iou(confusion(overall, test.labels)),
        "the position's most frequent label": mean_iou(confusion(by_position, test.labels)),
    }


def class_weights(labels: Tensor) -> Tensor:
    """Return the root of median frequency over frequency: rare classes count more, the rarest not everything."""
    frequency = torch.bincount(labels.flatten().long(), minlength=VOID + 1)[:VOID].double()
    usual = frequency[frequency > 0].median()
    return (usual / frequency.clamp(min=1)).sqrt().clamp(max=5.0).float()


class Scale(NamedTuple):
    """Mean and deviation of the training pictures, per channel."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, pictures: Tensor) -> "Scale":
        """Measure them."""
        values = pictures.float()
        return cls(values.mean((0, 2, 3)).view(3, 1, 1), values.std((0, 2, 3)).view(3, 1, 1))

    def __call__(self, pictures: Tensor) -> Tensor:
        """Standardise."""
        return (pictures - self.mean) / self.std


def augmented(split: Split, chosen: Tensor, draw: torch.Generator) -> Split:
    """Return crops of the chosen pictures, half of them mirrored, all a little brighter or darker."""
    pictures, labels = [], []
    height, width = split.labels.shape[1:]
    rows, columns = min(CROP[0], height), min(CROP[1], width)
    for index in chosen.tolist():
        top = int(torch.randint(height - rows + 1, (), generator=draw))
        left = int(torch.randint(width - columns + 1, (), generator=draw))
        gain = 0.7 + 0.6 * float(torch.rand((), generator=draw))
        picture = split.pictures[index, :, top : top + rows, left : left + columns] * gain
        label = split.labels[index, top : top + rows, left : left + columns]
        if torch.rand((), generator=draw) < 0.5:
            picture, label = picture.flip(2), label.flip(1)
        pictures.append(picture.clamp(max=255))
        labels.append(label)
    return Split(torch.stack(pictures), torch.stack(labels))


def train(model: nn.Module, split: Split, scale: Scale, epochs: int, batch: int, rate: float) -> None:
    """Train with AdamW and a one-cycle schedule; prints the mean loss of every epoch."""
    draw = torch.Generator().manual_seed(0)
    steps = epochs * (len(split.labels) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    weights = class_weights(split.labels)
    for epoch in range(1, epochs + 1):
        model.train()
        start, losses = time.perf_counter(), []
        order = torch.randperm(len(split.labels), generator=draw)
        for chosen in order[: len(order) // batch * batch].view(-1, batch):
            pictures, labels = augmented(split, chosen, draw)
            loss = cross_entropy(model(scale(pictures)), labels.long(), weights, ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch:3}  loss {np.mean(losses):.3f}  {time.perf_counter() - start:.1f} s", flush=True)


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, scale: Scale, *, crf: bool = False) -> Tensor:
    """Return the confusion matrix, of predictions refined by the dense CRF if asked for."""
    model.eval()
    counts = torch.zeros(VOID, VOID, dtype=torch.long)
    for pictures, labels in zip(torch.split(split.pictures, 8), torch.split(split.labels, 8), strict=True):
        scores = model(scale(pictures))
        if crf:
            scores = torch.stack([refine(p, x) for p, x in zip(scores.softmax(1), pictures, strict=True)])
        counts += confusion(scores.argmax(1), labels)
    return counts


def main() -> None:
    """Train, evaluate on the test pictures, compare with the best guess."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="deeplab-v2-resnet101", help="(default: deeplab-v2-resnet101)")
    parser.add_argument("--width", type=float, default=1 / 8, help="of the paper's maps (default: 1/8)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3, help="largest learning rate (default: 0.003)")
    parser.add_argument("--limit", type=int, help="read so many pictures of each folder only")
    parser.add_argument("--crf", action="store_true", help="also refine the test predictions by a dense CRF")
    options = parser.parse_args()
    torch.manual_seed(0)
    start = time.perf_counter()
    sets = {split: read(options.data, split, options.limit) for split in ("train", "val", "test")}
    scale = Scale.of(sets["train"].pictures)
    height, width = sets["train"].labels.shape[1:]
    model = build(options.model, classes=VOID, channels=3, size=(height, width), width=options.width)
    count = sum(p.numel() for p in model.parameters())
    print(f"{options.model}, width {options.width:g}: {count:,} parameters; {len(sets['train'].labels)} pictures")
    train(model, sets["train"], scale, options.epochs, options.batch, options.rate)
    print(f"validation: mean IoU {mean_iou(evaluate(model, sets['val'], scale)):.3f}")
    counts = evaluate(model, sets["test"], scale)
    for name, value in zip(NAMES, intersection_over_union(counts).tolist(), strict=True):
        print(f"  {name:12} IoU {value:.3f}")
    found, accuracy = mean_iou(counts), float(counts.diagonal().sum() / counts.sum())
    guesses = best_guess(sets["train"], sets["test"])
    print(f"test: mean IoU {found:.3f}, pixels right {accuracy:.3f}, {time.perf_counter() - start:.0f} s in all")
    for name, value in guesses.items():
        print(f"guess: mean IoU {value:.3f} ({name})")
    if options.crf:
        print(f"with a dense CRF: mean IoU {mean_iou(evaluate(model, sets['test'], scale, crf=True)):.3f}")
    assert found > max(guesses.values()) + MARGIN


if __name__ == "__main__":
    main()
