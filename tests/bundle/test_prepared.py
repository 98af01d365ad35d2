"""A network made ready to predict gives the same logits, whatever is folded, packed and fused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate import ops
from striate.bundle import prepare
from striate.errors import InputError
from striate.models import build, card
from striate.nn import Conv, ConvTranspose, LocalResponseNorm, MaxPool
from striate.ops._dispatch import watched
from striate.ops.impl.native import conv as native
from striate.ops.impl.native.library import instruction_set, library

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
# further layers: links and radial basis functions; dilated, deformable and one-dimensional convolution; gates
BFLOAT16 = NETWORKS | {
    "lenet5-modern": (32, 32),
    "inception-resnet-v1": (75, 80),
    "highway-cifar-1": (32, 32),
    "deeplab-v2-vgg16": (33, 40),
    "deformable-deeplab-resnet101": (33, 33),
    "fcn-1d": (40,),
    "resnet-1d": (50,),
}


def shaken(name: str, size: tuple[int, ...]) -> nn.Module:
    """A network whose batch normalisations have seen something."""
    torch.manual_seed(0)
    options = {"width": 0.125} if name == "fcn-8s" else {}
    model = build(name, classes=4, channels=card(name).channels, size=size, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
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
        for ready in (prepare(model), prepare(model, "exact")):
            assert ready(x[:0]).shape == plain[:0].shape
            assert error(ready(x), exact) <= max(20 * error(plain, exact), 2e-5)
            assert error(ready(x[1:2]), exact[1:2]) <= 2e-5
            assert torch.equal(ready(x), ready(x))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(isinstance(module, nn.Dropout) for module in ready.modules())


@pytest.mark.parametrize("matrix_tiles", [True, False])
@pytest.mark.parametrize("name", BFLOAT16)
def test_the_logits_in_bfloat16_are_close(name: str, matrix_tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To float32's: 2e-2 of the largest logit in the root mean square, which is 5 roundings of 2^-8.

    Whether oneDNN computes the 3 x 3 convolutions, as on processors that multiply tiles, or Striate's kernel.
    """
    monkeypatch.setattr(native, "has_matrix_tiles", lambda: matrix_tiles)
    model = shaken(name, BFLOAT16[name])
    x = torch.randn(3, *model.input_size)  # type: ignore[misc]
    with torch.inference_mode():
        plain, ready = model(x), prepare(model, "bf16")
        found = ready(x)
        assert ready(x[:0]).shape == plain[:0].shape
        assert torch.equal(ready(x[1:2].bfloat16()), ready(x[1:2].bfloat16().float()))
    assert found.dtype == torch.float32
    off = float((found - plain).square().mean().sqrt() / plain.abs().max())
    assert 1e-6 < off <= 2e-2, "of float32" if off <= 1e-6 else f"{off:.1e} away"
    assert not any(isinstance(module, nn.Dropout) for module in ready.modules())


def test_what_computes_in_bfloat16() -> None:
    """Every layer that multiplies takes bfloat16 and gives it; normalisation over channels is of float32."""
    layers = [Conv(3, 16, 3), nn.ReLU(), Conv(16, 16, 3, padding=((0, 1), (2, 0))), LocalResponseNorm()]
    layers += [ConvTranspose(16, 4, 2, stride=2), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 5)]
    ready = prepare(nn.Sequential(*layers), "bf16")
    seen = {}
    for name, module in ready.named_modules():
        module.register_forward_hook(lambda _, x, y, name=name: seen.update({name: (x[0].dtype, y.dtype)}))
    with torch.inference_mode():
        ready(torch.randn(2, 3, 11, 11))
    narrow, wide = torch.bfloat16, torch.float32
    assert seen.pop("") == (wide, wide)
    assert seen.pop("network") == seen.pop("network.0") == (wide, narrow)
    assert seen.pop("network.3.layer") == (wide, wide)
    assert set(seen.values()) == {(narrow, narrow)}
    assert len(seen) == 8


@pytest.mark.skipif(instruction_set() not in {"avx512", "avx2"}, reason="no kernels for vectors here")
def test_pooling_in_bfloat16_is_our_kernels() -> None:
    ready = prepare(nn.Sequential(Conv(3, 32, 3), MaxPool(2)), "bf16")
    seen: list[str] = []

    def watcher(operator: str, form: Any, operands: tuple[Any, ...], forward: Callable[..., Any]) -> Any:
        seen.append(forward.__module__)
        return forward(form, *operands)

    with torch.inference_mode(), watched(watcher):
        assert ready(torch.randn(2, 3, 50, 50)).dtype == torch.float32
    assert seen == ["striate.ops.impl.native.max_pool"]


def test_another_precision_is_refused() -> None:
    with pytest.raises(InputError, match=r"prepare: precision must be one of exact, high, bf16, got 'fp16'"):
        prepare(nn.Sequential(), "fp16")  # type: ignore[arg-type]


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
    """3 x 3 with enough channels: Winograd's kernel; others with enough: the direct one; else oneDNN."""

    def packed(conv: Conv, precision: str = "high") -> ops.PackedConv:
        words = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups, "flip": conv.flip}
        result = ops.PackedConv(conv.weight.detach(), None, words, precision=precision)
        x = torch.randn(1, conv.in_channels, 17, 17)
        conv.bias = None
        torch.testing.assert_close(result(x), conv(x), rtol=1e-4, atol=1e-4)
        return result

    vectors = instruction_set() in {"avx512", "avx2"}
    assert packed(Conv(16, 16, 3, padding=1)).computed_by == "winograd"
    assert packed(Conv(16, 16, 3, padding=1), "exact").computed_by == ("direct" if vectors else "onednn")
    assert packed(Conv(16, 16, 1, stride=2)).computed_by == ("direct" if vectors else "onednn")
    assert packed(Conv(16, 16, 3, padding=((0, 1), (2, 0)), stride=2)).computed_by == (
        "direct" if vectors else "operator"
    )
    assert packed(Conv(16, 16, 3, padding=1, groups=16)).computed_by == "onednn"
    assert packed(Conv(3, 16, 3)).computed_by == "onednn"
    assert packed(Conv(3, 16, 3, padding=((0, 1), (2, 0)))).computed_by == "operator"
    assert packed(Conv(16, 16, 1, flip=True)).computed_by == "operator"


@pytest.mark.skipif(library() is None, reason="the native extension was not built here")
def test_few_outputs_are_computed_directly_until_a_batch_has_more() -> None:
    conv = Conv(16, 16, 3, padding=1).eval().requires_grad_(False)
    ready = ops.PackedConv(conv.weight, conv.bias, {"padding": 1})
    directly = "direct" if instruction_set() in {"avx512", "avx2"} else "onednn"
    for pictures, who in ((0, "operator"), (1, directly), (2, "winograd"), (1, "winograd")):
        x = torch.randn(pictures, 16, 10, 12)
        torch.testing.assert_close(ready(x), conv(x), rtol=1e-4, atol=1e-4)
        assert ready.computed_by == who


def test_other_widths_of_an_image_after_the_first() -> None:
    """Same padding with a stride depends on the size: what was packed serves every size."""
    conv = Conv(4, 6, 3, stride=2, padding="same").eval()
    ready = prepare(nn.Sequential(conv))
    for size in ((9, 9), (8, 9), (8, 8), (1, 5)):
        x = torch.randn(2, 4, *size)
        with torch.inference_mode():
            torch.testing.assert_close(ready(x), conv(x), rtol=1e-4, atol=1e-5)
