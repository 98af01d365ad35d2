"""Inception-ResNet-v1 and v2 against their figures, written out in plain PyTorch."""

import pytest
import torch
from plain_inception import Plain, biggest, shaken
from test_inception_v4 import reduction_a, stem
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, published
from striate.models.inception_resnet import InceptionResNet, inception_resnet


def stem_v1(net: Plain, x: Tensor) -> Tensor:
    """Figure 14."""
    x = net.conv(net.conv(net.conv(x, 32, 3, 2, valid=True), 32, 3, valid=True), 64, 3)
    x = net.conv(biggest(x), 80)
    return net.conv(net.conv(x, 192, 3, valid=True), 256, 3, 2, valid=True)


def add(net: Plain, x: Tensor, branches: list[Tensor], scale: float) -> Tensor:
    """Figure 20, the linear expansion as deep as the input."""
    return (x + scale * net.linear_conv(torch.cat(branches, 1), x.shape[1])).relu()


def block_a(net: Plain, x: Tensor, third: tuple[int, int]) -> Tensor:
    """Figures 10 and 16."""
    one, three = net.conv(x, 32), net.conv(net.conv(x, 32), 32, 3)
    double = net.conv(net.conv(net.conv(x, 32), third[0], 3), third[1], 3)
    return add(net, x, [one, three, double], 0.17)


def block_b(net: Plain, x: Tensor, first: int, second: tuple[int, int, int]) -> Tensor:
    """Figures 11 and 17."""
    one = net.conv(x, first)
    seven = net.conv(net.conv(net.conv(x, second[0]), second[1], (1, 7)), second[2], (7, 1))
    return add(net, x, [one, seven], 0.10)


def block_c(net: Plain, x: Tensor, second: tuple[int, int]) -> Tensor:
    """Figures 13 and 19."""
    one = net.conv(x, 192)
    three = net.conv(net.conv(net.conv(x, 192), second[0], (1, 3)), second[1], (3, 1))
    return add(net, x, [one, three], 0.20)


def reduction_b(net: Plain, x: Tensor, second: int, third: tuple[int, int]) -> Tensor:
    """Figures 12 and 18."""
    first = net.conv(net.conv(x, 256), 384, 3, 2, valid=True)
    middle = net.conv(net.conv(x, 256), second, 3, 2, valid=True)
    double = net.conv(net.conv(net.conv(x, 256), third[0], 3), third[1], 3, 2, valid=True)
    return torch.cat([biggest(x), first, middle, double], 1)


def figure_15(version: str, net: Plain, x: Tensor, classes: int) -> Tensor:
    first = version == "v1"
    x = stem_v1(net, x) if first else stem(net, x)
    for _ in range(5):
        x = block_a(net, x, (32, 32) if first else (48, 64))
    x = reduction_a(net, x, 192, 192, 256, 384) if first else reduction_a(net, x, 256, 256, 384, 384)
    for _ in range(10):
        x = block_b(net, x, 128, (128, 128, 128)) if first else block_b(net, x, 192, (128, 160, 192))
    x = reduction_b(net, x, 256, (256, 256)) if first else reduction_b(net, x, 288, (288, 320))
    for _ in range(5):
        x = block_c(net, x, (192, 192) if first else (224, 256))
    return net.dense(x.mean((2, 3)), classes)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_it_is_the_network_of_the_figures(version: str) -> None:
    model = shaken(build(f"inception-resnet-{version}", classes=4, channels=2, size=(75, 92)))
    x = torch.randn(2, 2, 75, 92, dtype=torch.float64)
    net = Plain(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), figure_15(version, net, x, 4), rtol=1e-9, atol=1e-9)
    assert net.tensors == []


@pytest.mark.parametrize(
    ("version", "parameters", "macs"), [("v1", 22_756_328, 6_206_361_696), ("v2", 32_433_928, 9_257_953_632)]
)
def test_counts_from_the_figures_are_those_of_the_network(version: str, parameters: int, macs: int) -> None:
    with torch.device("meta"):
        model = inception_resnet(version).eval()
        net = Plain(model)
        figure_15(version, net, torch.empty(1, 3, 299, 299), 1000)
    assert net.parameters == sum(p.numel() for p in model.parameters()) == parameters
    assert net.macs == macs


def test_one_module_by_hand() -> None:
    """Figure 17 counted with pencil; 1152 = 384 + 384 + 384 maps go in and, with biases, come out."""
    with torch.device("meta"):
        module = inception_resnet("v2").get_submodule("inception_resnet_b10")
    branches = 1152 * 192 + 1152 * 128 + 7 * 128 * 160 + 7 * 160 * 192 + 2 * (192 + 128 + 160 + 192)
    assert sum(p.numel() for p in module.parameters()) == branches + (192 + 192 + 1) * 1152 == 1_171_904


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_features_have_the_printed_sizes(version: str) -> None:
    name = f"inception-resnet-{version}"
    sizes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        model = inception_resnet(version)
        for part, module in model.named_modules():
            module.register_forward_hook(lambda _, __, output, part=part: sizes.update({part: tuple(output.shape[1:])}))
        seen = model.features(torch.empty(2, 3, 299, 299))
    for figure in published(name):
        assert sizes[figure.layer] == (figure.ours or figure.value), figure.layer
    assert {part: tuple(value.shape[1:]) for part, value in seen.items() if part in sizes}.items() <= sizes.items()
    assert [part for part in seen if part.startswith("inception_resnet_b")][-1] == "inception_resnet_b10"


def test_where_the_figures_disagree_with_themselves() -> None:
    departing = {f.layer.split(".")[0]: (f.value, f.ours) for f in published("inception-resnet-v2") if f.departs}
    assert departing == {
        "inception_resnet_b1": ((1154, 17, 17), (1152, 17, 17)),
        "inception_resnet_c1": ((2048, 8, 8), (2144, 8, 8)),
    }


def test_a_module_that_adds_nothing_passes_its_input_on() -> None:
    model = inception_resnet("v1", classes=3)
    module = model.get_submodule("inception_resnet_a1").eval()
    assert isinstance(module, InceptionResNet)
    nn.init.zeros_(module.expansion.weight)
    x = torch.rand(1, 256, 3, 4)
    assert torch.equal(module(x), x)
    module.expansion.bias.data.fill_(-1.0)  # type: ignore[union-attr]
    torch.testing.assert_close(module(x), (x - 0.17).relu())


def test_scales_are_within_the_papers_range() -> None:
    """Section 3.3: between 0.1 and 0.3."""
    with torch.device("meta"):
        for version in ("v1", "v2"):
            modules = [m for m in inception_resnet(version).modules() if isinstance(m, InceptionResNet)]
            assert len(modules) == 20
            assert all(0.1 <= module.scale <= 0.3 for module in modules)


def test_a_version_that_is_none() -> None:
    with pytest.raises(InputError, match="inception-resnet: the versions are 'v1' and 'v2', got 'v3'"):
        inception_resnet("v3")
