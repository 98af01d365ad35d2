"""A network made ready to predict gives the same logits, whatever is folded, packed and fused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from striate import ops
from striate.bundle import prepare
from striate.models import build
from striate.nn import Conv
from striate.ops.impl.native.library import library

NETWORKS = {
    "lenet5": (32, 32),
    "convnet": (20, 14),
    "alexnet": (67, 67),
    "nin-cifar10": (32, 32),
    "vgg-a-lrn": (32, 32),
    "googlenet": (64, 48),
    "inception-v3": (75, 91),
    "resnet-18": (40, 33),
    "resnet-50-v1.5": (32, 32),
    "preact-resnet-cifar-110": (12, 9),
    "highway-mnist-16": (28, 28),
    "fcn-8s": (40, 33),
}


def shaken(name: str, size: tuple[int, int]) -> nn.Module:
    """A network whose batch normalisations have seen something."""
    torch.manual_seed(0)
    options = {"width": 0.125} if name == "fcn-8s" else {}
    model = build(name, classes=4, channels=1 if name in {"lenet5", "highway-mnist-16"} else 3, size=size, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    for parameter in model.parameters():
        if not parameter.any():  # the scores of FCN start at nothing
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def kinds(module: nn.Module) -> list[str]:
    return [type(child).__name__ for child in module.children()]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_the_same(name: str) -> None:
    """As near to float64 as the network itself is, up to a factor for Winograd; one picture, none, another size."""
    model = shaken(name, NETWORKS[name])
    x = torch.randn(3, *model.input_size)  # type: ignore[misc]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        plain = model(x)
        exact = copy.deepcopy(model).double()(x.double())
        for ready in (prepare(model), prepare(model, exact=True)):
            assert ready(x[:0]).shape == plain[:0].shape
            assert error(ready(x), exact) <= max(20 * error(plain, exact), 2e-5)
            assert error(ready(x[1:2]), exact[1:2]) <= 2e-5
            assert torch.equal(ready(x), ready(x))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(isinstance(module, nn.Dropout) for module in ready.modules())


def test_what_follows_a_convolution_is_folded() -> None:
    """Nothing of batch normalisation and ReLU is left to do in a residual branch; a lone one stays."""
    model = shaken("resnet-18", (40, 33))
    ready = prepare(model)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 20
    assert sum(isinstance(module, nn.BatchNorm2d) for module in ready.modules()) == 0
    assert [type(module).__name__ for module in ready.get_submodule("conv1")] == [
        "PreparedConv",
        "Identity",
        "Identity",
    ]
    block = ready.get_submodule("conv2_1")
    assert [type(module).__name__ for module in block.children()] == ["Sequential", "PreparedConv", "Identity"]
    assert [type(module).__name__ for module in block.get_submodule("first")] == ["PreparedConv"]
    lone = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), Conv(3, 4, 1))
    assert kinds(prepare(lone)) == ["BatchNorm2d", "ReLU", "PreparedConv"]


@pytest.mark.skipif(library() is None, reason="the native extension was not built here")
def test_who_computes() -> None:
    """3 x 3 with enough channels: the native kernel; the rest: oneDNN; what neither can: the plain operator."""

    def packed(conv: Conv, *, exact: bool = False) -> ops.PackedConv:
        words = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups, "flip": conv.flip}
        result = ops.PackedConv(conv.weight.detach(), None, words, exact=exact)
        x = torch.randn(1, conv.in_channels, 9, 9)
        conv.bias = None
        torch.testing.assert_close(result(x), conv(x), rtol=1e-4, atol=1e-4)
        return result

    assert packed(Conv(16, 16, 3, padding=1))._winograd is not None
    assert packed(Conv(16, 16, 3, padding=1), exact=True)._onednn is not None
    assert packed(Conv(16, 16, 3, stride=2, padding="same"))._winograd is None
    other = packed(Conv(3, 16, 3, padding=((0, 1), (2, 0))))
    assert other._winograd is None
    assert other._onednn is None


def test_other_widths_of_an_image_after_the_first() -> None:
    """Same padding with a stride depends on the size: what was packed serves every size."""
    conv = Conv(4, 6, 3, stride=2, padding="same").eval()
    ready = prepare(nn.Sequential(conv))
    for size in ((9, 9), (8, 9), (8, 8), (1, 5)):
        x = torch.randn(2, 4, *size)
        with torch.inference_mode():
            torch.testing.assert_close(ready(x), conv(x), rtol=1e-4, atol=1e-5)
