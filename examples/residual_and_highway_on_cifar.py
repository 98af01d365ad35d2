"""A residual and a highway network learn part of CIFAR-10, on a schedule of minutes instead of days.

Claim: ResNet-20 and Highway 1, trained from scratch for 10 epochs on 12,500 of the 50,000 training pictures, know at
least 55 and 45 per cent of the test pictures. (The papers, with all pictures and 182 and 400 epochs: 91.25 and 89.18.)
Run: python examples/residual_and_highway_on_cifar.py FOLDER (the six files data_batch_1.bin ... test_batch.bin; about
ten minutes for each network on two cores; --images 500 --epochs 1 --floor 0.05 shows in a minute that it works)
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from striate.data import Augmentation, DataOptions
from striate.training import Listener, ModelOptions, OptimizerOptions, Recipe, ScheduleOptions, Trained, fit

RECORD = 1 + 3 * 32 * 32  # a label and the pixels of a picture
TRAIN = tuple(f"data_batch_{k}.bin" for k in range(1, 6))

# the papers' pictures, batches and optimisers; learning rates fall along a cosine, since the epochs are few
RESNET = Recipe(
    name="resnet-cifar-20 in minutes",
    model=ModelOptions("resnet-cifar-20"),
    data=DataOptions(channels=3, size=(32, 32), mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262)),
    augmentation=Augmentation(flip=0.5, crop=4),
    optimizer=OptimizerOptions("sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),
    schedule=ScheduleOptions("cosine", warmup=0.5),
    batch_size=128,
)
HIGHWAY = RESNET.replace(
    name="highway-cifar-1 in minutes",
    model=ModelOptions("highway-cifar-1", {"dropout": 0.0}),  # dropout helps in many epochs, not in few
    optimizer=OptimizerOptions("sgd", lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3, clip_norm=1.0),
    batch_size=100,
)


class Printer(Listener):
    """Prints each epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the epoch's line of metrics."""
        print("  " + ", ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, int | float)), flush=True)


def write_part(source: Path, target: Path, images: int, tests: int) -> None:
    """Write the first pictures of the official files, `images` for training in all, `tests` for testing."""
    target.mkdir(parents=True)
    for name, count in (*((name, images // len(TRAIN)) for name in TRAIN), ("test_batch.bin", tests)):
        with (source / name).open("rb") as file:
            (target / name).write_bytes(file.read(count * RECORD))


def train(recipe: Recipe, data: Path, out: Path, threads: int | None) -> Trained:
    """Train and print what came of it."""
    print(recipe.name, flush=True)
    start = time.perf_counter()
    trained = fit(recipe, "cifar10", out / recipe.model.name, data_root=data, threads=threads, listener=Printer())
    seconds, evaluation = time.perf_counter() - start, trained.evaluation
    shown = len(trained.data.splits["train"]) * recipe.epochs
    print(
        f"{recipe.model.name}: {sum(p.numel() for p in trained.model.parameters()):,} parameters, {shown:,} pictures"
        f" shown in {seconds:.0f} s, test accuracy {evaluation.accuracy:.4f} (n = {evaluation.total:,})",
        flush=True,
    )
    return trained


def main() -> None:
    """Train both and hold them to their floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the six files of CIFAR-10's binary version are")
    parser.add_argument("--images", type=int, default=12_500, help="training pictures, of which a twelfth validates")
    parser.add_argument("--tests", type=int, default=10_000, help="test pictures")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--floor", type=float, default=None, help="the accuracy to reach instead of 0.55 and 0.45")
    parser.add_argument("--out", type=Path, default=None, help="where the two runs are kept; nowhere unless given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "cifar10"
        write_part(arguments.folder, data, arguments.images, arguments.tests)
        for recipe, floor in ((RESNET, 0.55), (HIGHWAY, 0.45)):
            shortened = recipe.replace(epochs=arguments.epochs)
            trained = train(shortened, data, arguments.out or Path(scratch), arguments.threads)
            least = floor if arguments.floor is None else arguments.floor
            assert trained.evaluation.accuracy >= least, f"{recipe.model.name} stays below {least}"


if __name__ == "__main__":
    main()
