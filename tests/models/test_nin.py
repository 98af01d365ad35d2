"""Network in Network: the released definitions, written by hand."""

import re

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published
from striate.models.nin import nin
from striate.nn import Conv, Dropout


def mlp(d: int, maps: tuple[int, int, int], kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    first = nn.Conv2d(d, maps[0], kernel, stride, padding)
    return [
        first,
        nn.ReLU(),
        nn.Conv2d(maps[0], maps[1], 1),
        nn.ReLU(),
        nn.Conv2d(maps[1], maps[2], 1),
        nn.ReLU(),
    ]


def pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def plain(row: str, classes: int, channels: int) -> nn.Sequential:
    """The definition layer by layer in plain PyTorch."""
    last: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if row == "cifar10":
        return nn.Sequential(
            *mlp(channels, (192, 160, 96), 5, padding=2),
            pool(),
            Dropout(0.5),
            *mlp(96, (192, 192, 192), 5, padding=2),
            pool(),
            Dropout(0.5),
            *mlp(192, (192, 192, classes), 3, padding=1),
            *last,
        )
    return nn.Sequential(
        *mlp(channels, (96, 96, 96), 11, stride=4),
        pool(),
        *mlp(96, (256, 256, 256), 5, padding=2),
        pool(),
        *mlp(256, (384, 384, 384), 3, padding=1),
        pool(),
        Dropout(0.5),
        *mlp(384, (1024, 1024, classes), 3, padding=1),
        *last,
    )


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("row", "size"), [("cifar10", (17, 26)), ("imagenet", (57, 75))])
@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_the_one_written_by_hand(row: str, size: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    model = nin(row, classes=4, channels=2, size=size).train(training)
    by_hand = plain(row, 4, 2).train(training)
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.randn(2, 2, *size)
    outputs: list[Tensor] = []
    for network in (model, by_hand):
        torch.manual_seed(1)  # the same units are dropped only if dropout is at the same places
        outputs.append(network(x))
    torch.testing.assert_close(*outputs)
    assert outputs[1].std() > 1e-5


def test_parameters() -> None:
    """966,986 and 7,595,176, each counted by hand from the definition."""
    cifar = 192 * (3 * 25 + 1) + 160 * 193 + 96 * 161
    cifar += 192 * (96 * 25 + 1) + 192 * 193 + 192 * 193
    cifar += 192 * (192 * 9 + 1) + 192 * 193 + 10 * 193
    imagenet = 96 * (3 * 121 + 1) + 2 * 96 * 97
    imagenet += 256 * (96 * 25 + 1) + 2 * 256 * 257
    imagenet += 384 * (256 * 9 + 1) + 2 * 384 * 385
    imagenet += 1024 * (384 * 9 + 1) + 1024 * 1025 + 1000 * 1025
    with torch.device("meta"):
        assert count(build_as_published("nin-cifar10")) == cifar == 966_986
        assert count(build_as_published("nin-imagenet")) == imagenet == 7_595_176


def test_sizes_of_the_maps() -> None:
    with torch.device("meta"):
        cifar = build_as_published("nin-cifar10").features(torch.empty(1, 3, 32, 32))  # type: ignore[operator]
        imagenet = build_as_published("nin-imagenet").features(torch.empty(1, 3, 224, 224))  # type: ignore[operator]
    assert {name: tuple(map_.shape[1:]) for name, map_ in cifar.items()} == {
        "mlpconv1": (96, 32, 32),
        "pool1": (96, 16, 16),
        "dropout1": (96, 16, 16),
        "mlpconv2": (192, 16, 16),
        "pool2": (192, 8, 8),
        "dropout2": (192, 8, 8),
        "mlpconv3": (10, 8, 8),
        "average": (10,),
        "logits": (10,),
    }
    assert {name: tuple(map_.shape[1:]) for name, map_ in imagenet.items()} == {
        "mlpconv1": (96, 54, 54),
        "pool1": (96, 27, 27),
        "mlpconv2": (256, 27, 27),
        "pool2": (256, 13, 13),
        "mlpconv3": (384, 13, 13),
        "pool3": (384, 6, 6),
        "dropout3": (384, 6, 6),
        "mlpconv4": (1000, 6, 6),
        "average": (1000,),
        "logits": (1000,),
    }


def test_first_weights_are_those_of_the_definitions() -> None:
    torch.manual_seed(0)
    narrow = {"conv1", "conv3", "cccp8"}  # of ImageNet: deviation 0.01, all others 0.05
    for row in ("cifar10", "imagenet"):
        model = nin(row, classes=10, channels=3)
        for name, module in model.named_modules():
            if isinstance(module, Conv):
                layer = name.split(".")[1]
                deviation = 0.01 if row == "imagenet" and layer in narrow else 0.05
                assert float(module.weight.detach().std()) == pytest.approx(deviation, rel=0.1), name
                assert module.bias is not None
                assert not module.bias.any()


@pytest.mark.parametrize(("row", "least"), [("cifar10", 4), ("imagenet", 39)])
def test_any_size_from_the_smallest_on(row: str, least: int) -> None:
    with torch.device("meta"):
        model = nin(row, classes=3, size=(least, least + 5))
        assert model(torch.empty(0, 3, least, 2 * least)).shape == (0, 3)
        with pytest.raises(InputError, match=f"is not N x 3 x H x W of at least {least} x {least}"):
            model(torch.empty(1, 3, least, least - 1))
        model.smallest = (1, 1)  # and less is too small indeed
        with pytest.raises(InputError, match="max_pool"):
            model(torch.empty(1, 3, least, least - 1))


def test_unfit_options_are_refused() -> None:
    with pytest.raises(InputError, match="nin: the rows are cifar10 and imagenet, got 'mnist'"):
        nin("mnist", classes=10)
    with pytest.raises(InputError, match=re.escape("nin-cifar10: dropout must be at least 0 and below 1, got True")):
        build("nin-cifar10", dropout=True)
    with pytest.raises(InputError, match="nin-imagenet: takes images of at least 39 x 39, the data gives 32 x 32"):
        build("nin-imagenet", size=(32, 32))
