"""DeconvNet: table 2, unpooling by switches, a copy in plain PyTorch."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, published
from striate.models.deconvnet import DeconvNet

NARROW: dict[str, Any] = {"width": 1 / 16, "classes": 3, "channels": 2}
CONVS = [2, 2, 3, 3, 3]


def narrow(**options: Any) -> DeconvNet:
    """A narrow network whose normalisation is no identity."""
    torch.manual_seed(0)
    model = build("deconvnet", **NARROW | options).eval()
    assert isinstance(model, DeconvNet)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.3)
            nn.init.uniform_(module.running_var, 0.005, 0.02)  # type: ignore[arg-type]
    return model


def test_output_sizes_of_table_2() -> None:
    with torch.device("meta"):
        model = build_as_published("deconvnet")
        seen = model.features(torch.empty(2, 3, 224, 224))  # type: ignore[operator]
    figures = [figure for figure in published("deconvnet") if figure.quantity == "output_size"]
    assert len(figures) == 40
    assert {f.layer: f.value for f in figures} == {n: tuple(y.shape[1:]) for n, y in seen.items() if n != "logits"}


def test_parameters_counted_by_hand() -> None:
    down = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    up = [512, 512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64, 64]
    threes = sum(9 * a * b + 3 * b for maps in (down, up) for a, b in pairwise(maps))  # bias, scale and shift
    middle = 49 * 512 * 4096 + 3 * 4096 + 4096**2 + 3 * 4096 + 49 * 4096 * 512 + 3 * 512
    with torch.device("meta"):
        total = sum(p.numel() for p in build_as_published("deconvnet").parameters())
    assert total == threes + middle + 64 * 21 + 21


def plain(model: DeconvNet, x: Tensor) -> Tensor:
    """Table 2 in PyTorch's functions."""
    s = model.state_dict()

    def layer(x: Tensor, name: str, padding: int) -> Tensor:
        function = F.conv_transpose2d if name.startswith("de") else F.conv2d
        y = function(x, s[f"{name}.conv.weight"], s[f"{name}.conv.bias"], padding=padding)
        mean, variance, scale, shift = (
            s[f"{name}.norm.{what}"] for what in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, scale, shift).relu()

    switches = []
    for block, count in enumerate(CONVS, 1):
        for number in range(1, count + 1):
            x = layer(x, f"conv{block}_{number}", 1)
        size = x.shape[2:]
        x, places = F.max_pool2d(x, 2, return_indices=True)
        switches.append((places, size))
    x = layer(layer(layer(x, "fc6", 0), "fc7", 0), "deconv_fc6", 0)
    for block, count in reversed(list(enumerate(CONVS, 1))):
        places, size = switches.pop()
        x = F.max_unpool2d(x, places, [2, 2], output_size=size)
        for number in range(1, count + 1):
            x = layer(x, f"deconv{block}_{number}", 1)
    return F.conv2d(x, s["output.weight"], s["output.bias"])


@pytest.mark.parametrize("size", [(224, 224), (230, 261)])
def test_equal_to_plain_pytorch(size: tuple[int, int]) -> None:
    model = narrow(width=1 / 32)
    x = torch.randn(1, 2, *size)
    logits = model(x)
    assert logits.shape == (1, 3, *size)
    assert logits.std() > 0
    torch.testing.assert_close(logits, plain(model, x), rtol=1e-4, atol=1e-6)


def test_unpooling_puts_values_where_the_maxima_were() -> None:
    seen = narrow().features(torch.randn(1, 2, 64, 64))
    for block in range(1, 6):
        count = CONVS[block - 1]
        pooled, before = seen[f"pool{block}"], seen[f"conv{block}_{count}"]
        _, places = F.max_pool2d(before, 2, return_indices=True)
        unpooled = seen[f"unpool{block}"]
        found = unpooled.flatten(2).gather(2, places.flatten(2))
        assert unpooled.shape == before.shape
        assert pooled.shape == places.shape
        assert torch.equal(found.sum(), unpooled.sum()) or torch.isclose(found.sum(), unpooled.sum())
        assert int((unpooled != 0).sum()) == int((found != 0).sum())


def test_small_pictures_are_surrounded_by_zeros_at_fc6() -> None:
    """fc6 of a 96 x 64 picture reads its 3 x 2 maps of pool5 in the middle of 7 x 7."""
    model = narrow()
    seen = model.features(torch.randn(1, 2, 96, 64))
    pool5 = seen["pool5"]
    assert pool5.shape[2:] == (3, 2)
    whole = torch.zeros(1, pool5.shape[1], 7, 7)
    whole[:, :, 2:5, 2:4] = pool5
    torch.testing.assert_close(seen["fc6"], model.get_submodule("fc6")(whole))
    torch.testing.assert_close(seen["deconv_fc6"], model.get_submodule("deconv_fc6")(seen["fc7"])[:, :, 2:5, 2:4])


@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_smaller_sizes(size: tuple[int, int]) -> None:
    assert narrow()(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match=r"deconvnet: the input \(1, 2, 31, 40\) is not N x 2 x H x W of at least 32"):
        narrow()(torch.zeros(1, 2, 31, 40))
    with pytest.raises(InputError, match="deconvnet: takes images of at least 32 x 32, the data gives 28 x 28"):
        build("deconvnet", size=(28, 28))
    with pytest.raises(InputError, match="deconvnet: recompute must be true or false"):
        build("deconvnet", recompute=None)


def test_recomputing_keeps_gradients_and_averages() -> None:
    plain_one, again = narrow().train(), narrow(recompute=True).train()
    x = torch.randn(2, 2, 40, 33)
    for model in (plain_one, again):
        model(x).square().sum().backward()
    for a, b in zip(plain_one.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for kept, counted in zip(plain_one.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(kept, counted)
