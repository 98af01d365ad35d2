"""LeNet-5 forward and backward, written only with the chapter's equations, equal to autograd.

Claim: every weight's gradient differs from PyTorch's by less than 1e-12 of its largest entry, in float64.
Run: python examples/lenet5_by_hand.py
"""

from typing import NamedTuple

import numpy as np
import torch

from striate.models import build
from striate.models.lenet5 import c3_links
from striate.reference import Array, rbf, rbf_grad_input
from striate.reference.equations import (
    bias_gradient,
    conv_layer,
    dense_kernels,
    error_below_conv,
    error_below_pooling,
    kernel_gradient,
    linked_conv_layer,
    mean_pooling,
    subsampling_layer,
    up_mean,
)
from striate.training import rbf_map

J = 84.0  # of the loss; the distances of a fresh network are near 84, so every term of the loss has a say
T = np.array(c3_links())  # C3's link table, 16 x 6
WINDOW = (2, 2)  # the regions of S2 and S4
AREA = 4  # LeNet-5 pools sums: its w is a quarter of the w of (5.24), which pools means

Weights = dict[str, Array]


class Pass(NamedTuple):
    """What a forward pass leaves behind: every layer's output by its name, the distances, the image's loss."""

    outputs: dict[str, Array]
    distances: Array
    loss: float


def f(z: Array) -> Array:
    """Return the scaled hyperbolic tangent 1.7159 tanh(2z/3) (LeCun et al. 1998, appendix A)."""
    return 1.7159 * np.tanh(2 / 3 * z)


def slope(y: Array) -> Array:
    """Return f'(z) from y = f(z)."""
    return 1.7159 * 2 / 3 * (1 - (y / 1.7159) ** 2)


def forward(w: Weights, image: Array, label: int) -> Pass:
    """Run one image, 1 x 32 x 32, through the network and the loss."""
    y = {"input": image}
    y["C1"] = conv_layer(w["C1.weight"], y["input"], w["C1.bias"], f)  # (5.20), (5.21)
    y["S2"] = subsampling_layer(y["C1"], AREA * w["S2.weight"], w["S2.bias"], WINDOW, f)  # (5.24)
    y["C3"] = linked_conv_layer(w["C3.weight"], y["S2"], w["C3.bias"], T, f)  # (5.37)
    y["S4"] = subsampling_layer(y["C3"], AREA * w["S4.weight"], w["S4.bias"], WINDOW, f)
    y["C5"] = conv_layer(w["C5.weight"], y["S4"], w["C5.bias"], f)
    y["F6"] = conv_layer(as_kernels(w["F6.weight"]), y["C5"], w["F6.bias"], f)  # dense: 1 x 1 kernels over 1 x 1 maps
    distances = rbf(y["F6"].reshape(1, -1), w["output.centres"])[0]
    loss = distances[label] + np.log(np.exp(-J) + np.exp(-distances).sum())  # LeCun et al. 1998, equation (9)
    return Pass(y, distances, loss)


def backward(w: Weights, seen: Pass, label: int) -> Weights:
    """Return the gradient of one image's loss with respect to every weight: error terms from the top down."""
    y, gradient = seen.outputs, {}
    chances = np.exp(-seen.distances) / (np.exp(-J) + np.exp(-seen.distances).sum())
    by_distance = (np.arange(len(chances)) == label) - chances
    by_code = rbf_grad_input(by_distance[None], y["F6"].reshape(1, -1), w["output.centres"])

    delta = slope(y["F6"]) * by_code.reshape(-1, 1, 1)
    gradient["F6.weight"] = kernel_gradient(delta, y["C5"])[:, :, 0, 0]  # (5.27)
    gradient["F6.bias"] = bias_gradient(delta)  # (5.28)

    delta = error_below_conv(slope(y["C5"]), as_kernels(w["F6.weight"]), delta)  # (5.36)
    gradient["C5.weight"] = kernel_gradient(delta, y["S4"])
    gradient["C5.bias"] = bias_gradient(delta)

    delta = error_below_conv(slope(y["S4"]), w["C5.weight"], delta)
    gradient["S4.weight"], gradient["S4.bias"] = subsampling_gradients(delta, y["C3"])

    delta = error_below_subsampling(slope(y["C3"]), w["S4.weight"], delta)
    gradient["C3.weight"] = kernel_gradient(delta, y["S2"])[T == 1]  # only the linked kernels exist
    gradient["C3.bias"] = bias_gradient(delta)

    delta = error_below_conv(slope(y["S2"]), dense_kernels(w["C3.weight"], T), delta)
    gradient["S2.weight"], gradient["S2.bias"] = subsampling_gradients(delta, y["C1"])

    delta = error_below_subsampling(slope(y["C1"]), w["S2.weight"], delta)
    gradient["C1.weight"] = kernel_gradient(delta, y["input"])
    gradient["C1.bias"] = bias_gradient(delta)
    return gradient


def subsampling_gradients(delta: Array, below: Array) -> tuple[Array, Array]:
    """Return the gradients of w and b in z = w Y + b, (5.24) with Y the sum: the one is (5.28) weighted with Y."""
    return bias_gradient(delta * AREA * mean_pooling(below, WINDOW)), bias_gradient(delta)


def error_below_subsampling(slope: Array, weight: Array, delta: Array) -> Array:
    """Return (5.31) for a pooling layer that multiplies by a weight per map before it hands on."""
    by_mean = AREA * weight[:, None, None] * delta
    return error_below_pooling(slope, by_mean, lambda error: up_mean(error, slope.shape[1:], WINDOW))


def as_kernels(matrix: Array) -> Array:
    """Return the P x D matrix of a dense layer as P x D kernels of 1 x 1."""
    return matrix[:, :, None, None]


def by_hand(w: Weights, images: Array, labels: Array) -> tuple[float, Weights]:
    """Return the mean loss of some images and its gradient with respect to every weight."""
    passes = [forward(w, image, label) for image, label in zip(images, labels, strict=True)]
    gradients = [backward(w, seen, label) for seen, label in zip(passes, labels, strict=True)]
    mean = {name: np.mean([gradient[name] for gradient in gradients], axis=0) for name in gradients[0]}
    return float(np.mean([seen.loss for seen in passes])), mean


def by_autograd(model: torch.nn.Module, images: Array, labels: Array) -> tuple[float, Weights]:
    """Return the same two from PyTorch."""
    loss = rbf_map(model(torch.from_numpy(images)), torch.from_numpy(labels), j=J)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    return loss.item(), {name: g.numpy() for name, g in zip(names, gradients, strict=True)}


def worst_errors(found: Weights, expected: Weights) -> dict[str, float]:
    """Return, for every weight, the largest difference of its gradient over the largest entry that is expected."""
    assert found.keys() == expected.keys()
    return {name: float(abs(found[name] - true).max() / abs(true).max()) for name, true in expected.items()}


def main() -> None:
    """Compare the two on two random images and print the error of every weight."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = build("lenet5").double()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    images, labels = rng.uniform(-0.1, 1.175, (2, 1, 32, 32)), np.array([3, 8])  # the paper's range of grey values

    loss, gradients = by_hand(weights, images, labels)
    expected_loss, expected = by_autograd(model, images, labels)
    errors = worst_errors(gradients, expected)
    for name, error in errors.items():
        print(f"{name:10} {expected[name].shape!s:16} largest {abs(expected[name]).max():9.3e}  off by {error:.1e}")
    print(f"{sum(g.size for g in gradients.values())} gradients, off by {max(errors.values()):.1e} at most")
    assert abs(loss - expected_loss) < 1e-12 * expected_loss
    assert max(errors.values()) < 1e-12


if __name__ == "__main__":
    main()
