"""An adaptive deconvolutional network learns parts of photographs and rebuilds new ones from each of its layers.

Claim: from either layer the image is rebuilt with a smaller error than by the principal components of its patches with
as many numbers (rounded up), and at a lower cost than by the same network before it has learnt; the second layer
needs fewer numbers than the first and its error is smaller, for its parts are larger.
Run: python examples/adaptive_deconvolution.py (less than a minute on one core)
"""

import time

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad, unfold

from striate.models.adaptive_deconv import SMALL, AdaptiveDeconv

SIDE = 48  # pixels of an image
PATCH = 6  # of the principal components


def normalised(photo: Tensor) -> Tensor:
    """Return a grey photo, 1 x 1 x H x W, less its local mean and over its local deviation (contrast normalisation)."""

    def local(x: Tensor) -> Tensor:
        return avg_pool2d(pad(x, (4,) * 4, mode="reflect"), 9, stride=1)

    centred = photo - local(photo)
    deviation = local(centred.square()).sqrt()
    return centred / torch.maximum(deviation, deviation.mean())


def images() -> tuple[Tensor, Tensor]:
    """Return ten pieces of scikit-learn's two photographs to learn from and ten others, 10 x 1 x SIDE x SIDE each."""
    pieces = []
    for photo in load_sample_images().images:
        grey = torch.from_numpy(photo.astype(np.float32)).mean(2)[None, None] / 255
        image = normalised(avg_pool2d(grey, 2))
        across = unfold(image, SIDE, stride=SIDE)
        pieces.append(across[0].T.reshape(-1, 1, SIDE, SIDE))
    every = torch.cat(pieces)
    return every[::4][:10], every[1::4][:10]


def by_components(learnt_from: Tensor, seen: Tensor, numbers: float) -> float:
    """Return the relative error of `seen` by so many principal components, or a few more, of PATCH x PATCH patches."""
    each = -(-int(numbers) // (SIDE // PATCH) ** 2)
    patches = unfold(learnt_from, PATCH).transpose(1, 2).reshape(-1, PATCH**2)
    components = torch.linalg.eigh(patches.T @ patches)[1][:, -each:]
    tiles = unfold(seen, PATCH, stride=PATCH).transpose(1, 2)
    return float((tiles - tiles @ components @ components.T).square().sum() / tiles.square().sum())


def main() -> None:
    """Learn, rebuild the other images from each layer, print the table and assert the claim."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    seen, new = images()
    network, unlearnt = AdaptiveDeconv(SMALL), AdaptiveDeconv(SMALL)
    network.learn(seen, epochs=8, steps=10, descents=3)
    print(f"learnt from {len(seen)} images of {SIDE} x {SIDE} in {time.perf_counter() - start:.0f} s\n")
    codes, before = network.infer(new, steps=60), unlearnt.infer(new, steps=60)
    print("layer  numbers an image   error, %   components, %   cost   cost before learning")
    errors, numbers = [], []
    for layer, z in enumerate(codes.maps):
        rebuilt = network.reconstruct(z, codes.switches[:layer])
        errors.append(float((rebuilt - new).square().sum() / new.square().sum()))
        numbers.append(float((z != 0).sum()) / len(new))
        components = by_components(seen, new, numbers[-1])
        cost, unlearnt_cost = codes.costs[layer][-1], before.costs[layer][-1]
        print(
            f"{layer + 1:5}{numbers[-1]:18.0f}{100 * errors[-1]:11.1f}{100 * components:16.1f}"
            f"{cost:7.0f}{unlearnt_cost:23.0f}"
        )
        assert errors[-1] < components, f"layer {layer + 1} is not better than principal components"
        assert cost < 0.9 * unlearnt_cost, f"layer {layer + 1}: learning has not helped"
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    assert numbers[1] < numbers[0], "the second layer needs more numbers"
    assert errors[1] < errors[0], "the second layer's error is larger"


if __name__ == "__main__":
    main()
