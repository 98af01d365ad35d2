"""Inception-v4 against its figures, written out in plain PyTorch."""

import pytest
import torch
from plain_inception import Plain, average, biggest, shaken
from torch import Tensor

from striate.errors import InputError
from striate.models import build, published
from striate.models.inception_v4 import INCEPTION_V4, inception_v4


def stem(net: Plain, x: Tensor) -> Tensor:
    """Figure 3."""
    x = net.conv(x, 32, 3, 2, valid=True)
    x = net.conv(x, 32, 3, valid=True)
    x = net.conv(x, 64, 3)
    x = torch.cat([biggest(x), net.conv(x, 96, 3, 2, valid=True)], 1)
    left = net.conv(net.conv(x, 64), 96, 3, valid=True)
    right = net.conv(net.conv(net.conv(x, 64), 64, (7, 1)), 64, (1, 7))
    x = torch.cat([left, net.conv(right, 96, 3, valid=True)], 1)
    return torch.cat([net.conv(x, 192, 3, 2, valid=True), biggest(x)], 1)


def inception_a(net: Plain, x: Tensor) -> Tensor:
    """Figure 4."""
    pool, one = net.conv(average(x), 96), net.conv(x, 96)
    three = net.conv(net.conv(x, 64), 96, 3)
    double = net.conv(net.conv(net.conv(x, 64), 96, 3), 96, 3)
    return torch.cat([pool, one, three, double], 1)


def reduction_a(net: Plain, x: Tensor, k: int, l: int, m: int, n: int) -> Tensor:  # noqa: E741 - table 1
    """Figure 7."""
    three = net.conv(x, n, 3, 2, valid=True)
    double = net.conv(net.conv(net.conv(x, k), l, 3), m, 3, 2, valid=True)
    return torch.cat([biggest(x), three, double], 1)


def inception_b(net: Plain, x: Tensor) -> Tensor:
    """Figure 5, the second 1 x 7 of its third branch read as 7 x 1."""
    pool, one = net.conv(average(x), 128), net.conv(x, 384)
    seven = net.conv(net.conv(net.conv(x, 192), 224, (1, 7)), 256, (7, 1))
    double = net.conv(net.conv(net.conv(x, 192), 192, (1, 7)), 224, (7, 1))
    double = net.conv(net.conv(double, 224, (1, 7)), 256, (7, 1))
    return torch.cat([pool, one, seven, double], 1)


def reduction_b(net: Plain, x: Tensor) -> Tensor:
    """Figure 8."""
    three = net.conv(net.conv(x, 192), 192, 3, 2, valid=True)
    seven = net.conv(net.conv(net.conv(x, 256), 256, (1, 7)), 320, (7, 1))
    return torch.cat([biggest(x), three, net.conv(seven, 320, 3, 2, valid=True)], 1)


def inception_c(net: Plain, x: Tensor) -> Tensor:
    """Figure 6."""
    pool, one = net.conv(average(x), 256), net.conv(x, 256)
    two = net.conv(x, 384)
    two = torch.cat([net.conv(two, 256, (1, 3)), net.conv(two, 256, (3, 1))], 1)
    four = net.conv(net.conv(net.conv(x, 384), 448, (1, 3)), 512, (3, 1))
    four = torch.cat([net.conv(four, 256, (1, 3)), net.conv(four, 256, (3, 1))], 1)
    return torch.cat([pool, one, two, four], 1)


def figure_9(net: Plain, x: Tensor, classes: int) -> Tensor:
    x = stem(net, x)
    for _ in range(4):
        x = inception_a(net, x)
    x = reduction_a(net, x, 192, 224, 256, 384)
    for _ in range(7):
        x = inception_b(net, x)
    x = reduction_b(net, x)
    for _ in range(3):
        x = inception_c(net, x)
    return net.dense(x.mean((2, 3)), classes)


def test_it_is_the_network_of_the_figures() -> None:
    model = shaken(build("inception-v4", classes=4, channels=2, size=(75, 92)))
    x = torch.randn(2, 2, 75, 92, dtype=torch.float64)
    net = Plain(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), figure_9(net, x, 4), rtol=1e-9, atol=1e-9)
    assert net.tensors == []


def test_counts_from_the_figures_are_those_of_the_network() -> None:
    with torch.device("meta"):
        model = inception_v4().eval()
        net = Plain(model)
        figure_9(net, torch.empty(1, 3, 299, 299), 1000)
    assert net.parameters == sum(p.numel() for p in model.parameters()) == 42_679_816
    assert net.macs == 12_253_974_624


def test_one_module_by_hand() -> None:
    """Inception-A, counted with pencil: 384 maps in; filters of the four branches; two numbers per batch norm."""
    with torch.device("meta"):
        module = inception_v4().get_submodule("inception_a1")
    pool, one = 384 * 96, 384 * 96
    three, double = 384 * 64 + 9 * 64 * 96, 384 * 64 + 9 * 64 * 96 + 9 * 96 * 96
    norms = 2 * (96 + 96 + 64 + 96 + 64 + 96 + 96)
    assert sum(p.numel() for p in module.parameters()) == pool + one + three + double + norms == 317_632


def test_features_have_the_printed_sizes() -> None:
    with torch.device("meta"):
        seen = inception_v4().features(torch.empty(2, 3, 299, 299))
    names = [
        name for row in INCEPTION_V4 for name in ([row.name] if row.times is None else _numbered(row.name, row.times))
    ]
    assert list(seen) == [*names, "average_pooling", "dropout", "linear", "logits"]
    printed = {figure.layer: figure.value for figure in published("inception-v4")}
    assert len(printed) == 13
    assert {name: tuple(seen[name].shape[1:]) for name in printed} == printed


def _numbered(name: str, times: int) -> list[str]:
    return [f"{name}{number}" for number in range(1, times + 1)]


def test_the_smallest_images() -> None:
    """At 75 one row of pixels is left for the classifier; at 74 the last reduction finds too few."""
    with torch.device("meta"):
        model = inception_v4(size=(75, 131))
        assert model.features(torch.empty(3, 3, 75, 131))["inception_c3"].shape == (3, 1536, 1, 2)
        x = torch.empty(3, 3, 74, 131)
        with pytest.raises(InputError, match=r"inception-v4: the input .* of at least 75 x 75"):
            model(x)
        with pytest.raises(InputError, match="max_pool: a window of"):
            for part in model.order:
                x = model.get_submodule(part)(x)


def test_weights_start_as_he_et_al() -> None:
    torch.manual_seed(0)
    model = inception_v4(classes=300)
    for name in ("stem_conv3.conv", "inception_b1.branch3.1.conv", "linear"):
        weight = model.get_parameter(f"{name}.weight")
        assert abs(weight.std() / (2 / weight[0].numel()) ** 0.5 - 1) < 0.05, name
    assert not model.get_parameter("linear.bias").any()
