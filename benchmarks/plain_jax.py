"""A chain of plain torch.nn layers in JAX, as people write it there: the peer of the benchmarks where JAX is installed.

Images are N x H x W x C; a training step is forward, cross-entropy, backward and AdamW, compiled as one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from torch import Tensor, nn

Parameters = list[dict[str, Any]]


def knows(chain: nn.Sequential) -> bool:
    """Whether all layers of a chain are among those that are written here."""
    return all(type(layer) in _LAYERS for layer in chain)


def prediction(chain: nn.Sequential, images: Tensor) -> Callable[[], Any]:
    """Return a step that computes the logits."""
    parameters, x = _parameters(chain), _images(images)
    logits = jax.jit(lambda parameters, x: _logits(chain, parameters, x))
    return lambda: logits(parameters, x).block_until_ready()


def training_step(chain: nn.Sequential, images: Tensor, labels: Tensor, rate: float) -> Callable[[], Any]:
    """Return a training step."""
    x, y = _images(images), jnp.asarray(labels.numpy())
    betas, decay, epsilon = (0.9, 0.999), 0.01, 1e-8

    def loss(parameters: Parameters) -> Any:
        chosen = jax.nn.log_softmax(_logits(chain, parameters, x))
        return -jnp.take_along_axis(chosen, y[:, None], 1).mean()

    @jax.jit
    def step(parameters: Parameters, first: Parameters, second: Parameters, count: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(parameters)
        each = jax.tree.map
        first = each(lambda m, g: betas[0] * m + (1 - betas[0]) * g, first, grads)
        second = each(lambda v, g: betas[1] * v + (1 - betas[1]) * g * g, second, grads)
        scale = jnp.sqrt(1 - betas[1] ** count) / (1 - betas[0] ** count)
        moved = each(
            lambda p, m, v: p - rate * (decay * p + scale * m / (jnp.sqrt(v) + epsilon)), parameters, first, second
        )
        return value, moved, first, second, count + 1

    parameters = _parameters(chain)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [parameters, zeros, zeros, jnp.ones(())]

    def run() -> Any:
        value, *state[:] = step(*state)
        return jax.block_until_ready((value, state))

    return run


def _images(images: Tensor) -> Any:
    return jnp.asarray(images.permute(0, 2, 3, 1).contiguous().numpy())


def _parameters(chain: nn.Sequential) -> Parameters:
    return [{name: jnp.asarray(p.detach().numpy()) for name, p in layer.named_parameters()} for layer in chain]


def _logits(chain: nn.Sequential, parameters: Parameters, x: Any) -> Any:
    for layer, own in zip(chain, parameters, strict=True):
        x = _LAYERS[type(layer)](layer, own, x)
    return x


def _conv(layer: Any, own: dict[str, Any], x: Any) -> Any:
    pads = [(p, p) for p in layer.padding]
    return (
        jax.lax.conv_general_dilated(x, own["weight"], layer.stride, pads, dimension_numbers=("NHWC", "OIHW", "NHWC"))
        + own["bias"]
    )


def _max_pool(layer: Any, _: dict[str, Any], x: Any) -> Any:
    kernel, stride = ((k, k) if isinstance(k, int) else k for k in (layer.kernel_size, layer.stride))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *kernel, 1), (1, *stride, 1), "VALID")


_LAYERS: dict[type[nn.Module], Callable[[Any, dict[str, Any], Any], Any]] = {
    nn.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: lambda layer, own, x: jax.nn.relu(x),
    nn.Flatten: lambda layer, own, x: x.transpose(0, 3, 1, 2).reshape(len(x), -1),
    nn.Linear: lambda layer, own, x: x @ own["weight"].T + own["bias"],
}
