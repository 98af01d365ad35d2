"""A network from nothing labels street scenes better than the best guess without looking.

Claim: mean IoU on the test pictures exceeds by 0.10 that of always answering with each position's most frequent label
in the training pictures. DATA holds train, trainannot, val, valannot, test and testannot: pictures and, under the same
names, label maps in which 11 is void (CamVid in the form of the SegNet tutorial; 240 x 180 is enough). Training is that
of `striate train DATA --set data.void=11`.

Run: python examples/segment_street_scenes.py DATA --out RUN   (on one core ten to twenty minutes)
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from striate.cli._show import show
from striate.data import ImageData, SceneSplit, open_data, require_pictures, require_scenes
from striate.evaluation import SceneEvaluation, judge_scenes
from striate.training import default_recipe, fit

MARGIN = 0.10  # by which mean IoU must exceed the guess's


class Guess(nn.Module):
    """Gives for each position the number of training masks that show each class there, whatever the picture."""

    def __init__(self, split: SceneSplit, classes: int) -> None:
        super().__init__()
        votes = np.zeros((classes, *split.preprocessing.size), np.float32)
        for row in range(len(split)):
            mask = split.targets([row])[0]
            votes += mask == np.arange(classes)[:, None, None]
        self.votes = nn.Parameter(torch.from_numpy(votes), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same votes for each picture of a batch: N x classes x H x W."""
        return self.votes.expand(len(x), -1, -1, -1)


def best_guess(data: ImageData) -> SceneEvaluation:
    """Judge the guess on the test pictures, exactly as a network is judged."""
    guess = Guess(require_scenes(data.splits["train"]), len(data.classes))
    return judge_scenes(guess, require_scenes(data.splits["test"]), require_pictures(data.preprocessing), data.classes)


def main() -> None:
    """Train, and compare with the guess."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/street-scenes"), help="the run folder")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    options = parser.parse_args()
    recipe = default_recipe(str(options.data), None, "segmentation").set(["data.void=11", *options.set])
    guess = best_guess(open_data(options.data, recipe.data, seed=recipe.seed))
    with show() as listener:
        found = fit(recipe, str(options.data), options.out, listener=listener).evaluation
    assert isinstance(found, SceneEvaluation)
    print(found.as_text())
    print(f"test: mean IoU {found.mean_iou:.3f}; the position's most frequent label: {guess.mean_iou:.3f}")
    assert found.mean_iou > guess.mean_iou + MARGIN


if __name__ == "__main__":
    main()
