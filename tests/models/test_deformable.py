"""Deformable DeepLab: parameters, equal to the plain dilated network at first, offsets that move what is read."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published
from striate.models.deeplab import DeepLab
from striate.nn import DeformConv

NAME = "deformable-deeplab-resnet101"
NARROW: dict[str, Any] = {"width": 1 / 16, "classes": 3, "channels": 2}


def narrow(**options: Any) -> DeepLab:
    torch.manual_seed(0)
    model = build(NAME, **NARROW | options).eval()
    assert isinstance(model, DeepLab)
    return model


def deformed(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, DeformConv)]


def test_parameters_counted_by_hand() -> None:
    total, inputs = 49 * 3 * 64 + 2 * 64, 64
    for blocks, maps in ((3, 64), (4, 128), (23, 256), (3, 512)):
        for block in range(blocks):
            total += inputs * maps + 9 * maps * maps + 4 * maps * maps + 2 * (maps + maps + 4 * maps)
            total += (inputs * 4 * maps + 2 * 4 * maps) if block == 0 else 0
            inputs = 4 * maps
    total += 2048 * 1024 + 1024 + 1024 * 21 + 21
    offsets = 3 * (512 * 9 * 18 + 18)  # two numbers for each of nine places
    with torch.device("meta"):
        model, plain = build_as_published(NAME), build_as_published(NAME, deformable=0)
        seen = model.features(torch.empty(1, 3, 353, 353))  # type: ignore[operator]
    assert sum(p.numel() for p in plain.parameters()) == total
    assert sum(p.numel() for p in model.parameters()) == total + offsets
    assert seen["res4b22"].shape[1:] == (1024, 23, 23)
    assert seen["res5c"].shape[1:] == (2048, 23, 23)
    assert seen["score"].shape[1:] == (21, 23, 23)


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, []),
        (1, ["res5c"]),
        (3, ["res5a", "res5b", "res5c"]),
        (6, ["res4b20", "res4b21", "res4b22", "res5a", "res5b", "res5c"]),
    ],
)
def test_which_layers_of_table_1_are_deformable(count: int, names: list[str]) -> None:
    with torch.device("meta"):
        assert deformed(build(NAME, deformable=count)) == [f"{name}.branch2b" for name in names]


def test_every_deformable_layer_is_that_of_the_paper() -> None:
    """Of the first kind, one group of offsets, the predictor with the kernel and the dilation of the layer."""
    layers = [m for m in narrow(deformable=4).modules() if isinstance(m, DeformConv)]
    assert [m.dilation for m in layers] == [1, 2, 2, 2]
    for layer in layers:
        assert not layer.modulated
        assert layer.bias is None
        assert layer.offset_groups == 1
        assert (layer.predictor.kernel, layer.predictor.dilation) == (layer.kernel, layer.dilation)
        assert not any(p.any() for p in layer.predictor.parameters())
        assert layer.weight.std() > 0


@pytest.mark.parametrize("count", [3, 6])
def test_fresh_it_computes_what_the_plain_dilated_network_does(count: int) -> None:
    model, plain = narrow(deformable=count), narrow(deformable=0)
    left = plain.load_state_dict(model.state_dict(), strict=False)
    assert left.missing_keys == []
    assert all(".predictor." in key for key in left.unexpected_keys)
    x = torch.randn(2, 2, 50, 41, dtype=torch.float64)
    torch.testing.assert_close(model.double()(x), plain.double()(x))


def test_offsets_learn_from_the_first_step() -> None:
    model = narrow().train()
    model(torch.randn(2, 2, 65, 65)).square().sum().backward()
    for name in deformed(model):
        gradient = model.get_submodule(name).get_submodule("predictor").weight.grad
        assert isinstance(gradient, Tensor)
        assert gradient.abs().max() > 0


def test_offsets_of_one_pixel_read_the_next_pixel() -> None:
    """All places of res5c moved one to the right: its 3 x 3 layer reads the maps shifted by one."""
    model = narrow(deformable=1)
    block = model.get_submodule("res5c")
    layer = block.get_submodule("branch2b")
    assert isinstance(layer, DeformConv)
    maps = torch.randn(1, layer.in_channels, 7, 9)
    assert layer.predictor.bias is not None
    with torch.no_grad():
        layer.predictor.bias.view(-1, 2)[:, 1] = 1.0
    shifted = F.conv2d(F.pad(maps, (1, 3, 2, 2)), layer.weight, dilation=2)
    torch.testing.assert_close(layer(maps), shifted, rtol=1e-4, atol=1e-4)


def test_output_pixels_lie_on_the_input_pixels() -> None:
    """A point of light at a multiple of 16 pixels of a symmetric network lights the logits symmetrically."""
    model = narrow(deformable=0).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 4:
                p.copy_((p + p.flip(2) + p.flip(3) + p.flip(2, 3)).abs())
    x = torch.zeros(1, 2, 97, 97, dtype=torch.float64)
    x[0, :, 48, 48] = 1.0
    logits = model(x)
    torch.testing.assert_close(logits, logits.flip(2))
    torch.testing.assert_close(logits, logits.flip(3))
    assert logits.std() > 0


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_any_size(size: tuple[int, int]) -> None:
    assert narrow()(torch.randn(1, 2, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("value", [-1, 34, True, 1.0, "3"])
def test_wrong_options(value: object) -> None:
    options: dict[str, Any] = {"deformable": value}
    with pytest.raises(InputError, match=f"{NAME}: deformable must be an integer from 0 to 33, got {value!r}"):
        build(NAME, **options)
