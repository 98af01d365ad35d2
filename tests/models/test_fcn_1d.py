"""Wang, Yan and Oates 2017: the networks for series against the paper, and against plain PyTorch."""

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.models import build


def conv(inputs: int, maps: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the length, the extra zero of an even kernel at the end, and its normalisation."""
    left = (kernel - 1) // 2
    return nn.Sequential(
        nn.ConstantPad1d((left, kernel - 1 - left), 0.0), nn.Conv1d(inputs, maps, kernel), nn.BatchNorm1d(maps)
    )


class PlainFCN(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv(channels, 128, 8), conv(128, 256, 5), conv(256, 128, 3)])
        self.out = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.convs:
            x = torch.relu(layer(x))
        return self.out(x.mean(2))


class PlainResNet(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for maps in (64, 128, 128):
            shortcut = conv(channels, maps, 1) if channels != maps else nn.BatchNorm1d(maps)
            self.blocks.append(
                nn.ModuleList([conv(channels, maps, 8), conv(maps, maps, 5), conv(maps, maps, 3), shortcut])
            )
            channels = maps
        self.out = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one, two, three, shortcut in self.blocks:
            y = three(torch.relu(two(torch.relu(one(x)))))
            x = torch.relu(y + shortcut(x))
        return self.out(x.mean(2))


@pytest.mark.parametrize(("name", "plain"), [("fcn-1d", PlainFCN), ("resnet-1d", PlainResNet)])
@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_it_computes_what_plain_pytorch_computes(name: str, plain: type[nn.Module], length: int) -> None:
    torch.manual_seed(0)
    ours = build(name, classes=5, channels=3, size=(50,))
    other = plain(3, 5)
    own, theirs = list(ours.state_dict().items()), list(other.state_dict().items())
    assert [value.shape for _, value in own] == [value.shape for _, value in theirs]
    other.load_state_dict({key: value for (key, _), (_, value) in zip(theirs, own, strict=True)})
    x = torch.randn(4, 3, length)
    torch.testing.assert_close(ours.train()(x), other.train()(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(x), other.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # per convolution kernel * inputs * maps + maps, and twice the maps for its normalisation; 128 * 2 + 2 outputs
        ("fcn-1d", (8 * 128 + 3 * 128) + (5 * 128 * 256 + 3 * 256) + (3 * 256 * 128 + 3 * 128) + 258),
        (
            "resnet-1d",
            (8 * 64 + 5 * 64 * 64 + 3 * 64 * 64 + 9 * 64 + 4 * 64)
            + (8 * 64 * 128 + 5 * 128**2 + 3 * 128**2 + 9 * 128 + 64 * 128 + 3 * 128)
            + (16 * 128**2 + 9 * 128 + 2 * 128)
            + 258,
        ),
    ],
)
def test_the_number_of_parameters(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in build(name, classes=2).parameters()) == parameters


def test_glorot_weights_and_no_biases() -> None:
    torch.manual_seed(0)
    model = build("fcn-1d")
    second = model.block2.conv  # type: ignore[union-attr]
    bound = (6 / (5 * 128 + 5 * 256)) ** 0.5
    assert bound * 0.99 < float(second.weight.detach().abs().max()) <= bound
    assert not second.bias.detach().any()


@pytest.mark.parametrize(
    ("build_it", "sentence"),
    [
        (
            lambda: build("convnet", size=(128,)),
            "model 'convnet' takes pictures (height, width) and was given series (length)",
        ),
        (
            lambda: build("fcn-1d", size=(8, 8)),
            "model 'fcn-1d' takes series (length) and was given pictures (height, width)",
        ),
        (
            lambda: build("fcn-1d", size=(0,)),
            "fcn-1d: takes series of at least 1, the data gives 0; choose larger series",
        ),
        (lambda: build("fcn-1d")(torch.zeros(2, 3, 8)), "fcn-1d: the input (2, 3, 8) is not N x 1 x T of at least 1"),
        (lambda: build("fcn-1d")(torch.zeros(2, 1, 8, 8)), "fcn-1d: the input (2, 1, 8, 8) is not N x 1 x T"),
        (lambda: build("fcn-1d")(torch.zeros(2, 1, 0)), "fcn-1d: the input (2, 1, 0) is not N x 1 x T of at least 1"),
    ],
)
def test_what_does_not_fit(build_it: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build_it()  # type: ignore[operator]
    assert sentence in str(caught.value)
