"""What `compare` says of networks whose differences are known, sentence by sentence."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from library_networks import CifarResNet, GoogLeNet, Inception3, ResNet, alexnet, vgg16
from striate.errors import InputError
from striate.insight import Comparison, compare
from striate.models import build_as_published
from striate.nn import AvgPool, Conv, LocalResponseNorm, MaxPool

SAME = ["no architectural difference"]


def meta(network: Any, *args: Any, **options: Any) -> Any:
    with torch.device("meta"):
        return network(*args, **options)


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


# --- the networks that everyone takes for the same -------------------------------------------------------------------


def test_googlenet_and_torchvisions() -> None:
    paper, variant = meta(build_as_published, "googlenet"), meta(build_as_published, "googlenet-torchvision")
    found = compare(paper, variant)
    assert found.sentences == [
        "every convolution (57 of 57): no bias there",
        "batch normalisation added after every convolution (57 of 57)",
        "local response normalisation missing (2 of 2): norm1, norm2",
        "conv5x5 of all 9 modules (inception_3a ... inception_5b): kernel 5 x 5 -> 3 x 3, padding 2 -> 1",
        "pool4: kernel 3 x 3 -> 2 x 2, last window hangs over by 1 -> 0",
        "dropout: rate 0.4 -> 0.2",
    ]
    assert found.parameters == (6_998_552, 6_624_904)
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()
    assert found.as_text("googlenet", "googlenet-torchvision") in page
    theirs = meta(GoogLeNet)
    assert compare(variant, theirs).sentences == SAME
    back = compare(theirs, paper).sentences
    assert "every convolution (57 of 57): bias there" in back
    assert "batch normalisation missing after every convolution (57 of 57)" in back
    assert "local response normalisation added (2 of 2): norm1, norm2" in back
    assert "branch3.1 of all 9 modules (inception3a ... inception5b): kernel 3 x 3 -> 5 x 5, padding 1 -> 2" in back


def test_resnet_v1_and_v1_5() -> None:
    ours, common = meta(build_as_published, "resnet-50"), meta(ResNet, (3, 4, 6, 3), bottleneck=True, classes=1000)
    found = compare(ours, common)
    assert found.sentences == [
        "branch.conv1 of 3 modules (conv3_1, conv4_1, conv5_1): stride 2 -> 1",
        "branch.conv2 of 3 modules (conv3_1, conv4_1, conv5_1): stride 1 -> 2",
    ]
    assert found.parameters == (25_557_032, 25_557_032)
    assert found.macs == (3_857_973_248, 4_089_184_256)
    assert compare(meta(build_as_published, "resnet-50-v1.5"), common).sentences == SAME
    v1 = meta(ResNet, (3, 4, 6, 3), bottleneck=True, classes=1000, stride_in_3x3=False)
    assert compare(ours, v1).same


def test_a_deeper_resnet_has_more_blocks() -> None:
    found = compare(meta(build_as_published, "resnet-18"), meta(build_as_published, "resnet-34"))
    assert found.sentences == [
        "8 blocks added, each with 2 convolutions, 2 batch normalisations, 2 ReLUs, 1 addition: "
        "conv2_3, conv3_3, conv3_4 ... conv5_3"
    ]
    assert (
        "8 blocks missing"
        in compare(meta(build_as_published, "resnet-34"), meta(build_as_published, "resnet-18")).sentences[0]
    )


def test_vgg16_and_vgg16_bn() -> None:
    plain, normed = meta(vgg16), meta(vgg16, norm=True)
    found = compare(meta(build_as_published, "vgg-d"), normed)
    assert found.sentences == ["batch normalisation added after every convolution (13 of 13)"]
    assert found.macs == (15_470_264_320,) * 2
    assert compare(meta(build_as_published, "vgg-d"), plain).sentences == SAME
    back = compare(normed, plain, (3, 224, 224))
    assert back.sentences == ["batch normalisation missing after every convolution (13 of 13)"]
    assert "parameters: 138,365,992 -> 138,357,544" in back.as_text()


def test_lenet5_and_the_modern_one() -> None:
    found = compare(meta(build_as_published, "lenet5"), meta(build_as_published, "lenet5-modern"))
    assert found.sentences == [
        "activation of 4 modules (C1, C3, C5, F6): ReLU there instead of ScaledTanh",
        "every trainable subsampling (2 of 2): max pooling (2 x 2) there instead of trainable subsampling (2 x 2)",
        "ScaledTanh missing after every trainable subsampling (2 of 2)",
        "C3: links 60 -> all",
        "output: dense layer (10 units) there instead of RBF units",
        "negation missing after output",
    ]


def test_alexnet_in_two_paths_and_in_one() -> None:
    found = compare(meta(build_as_published, "alexnet"), meta(build_as_published, "alexnet-single"))
    assert found.sentences == [
        "conv1: padding 0 before and 3 after -> 2",
        "maps of convolutions: conv1 96 -> 64, conv2 256 -> 192, conv4 384 -> 256",
        "local response normalisation missing after 2 of 7 ReLUs: norm1, norm2",
        "3 of 5 convolutions (conv2, conv4, conv5): groups 2 -> 1",
        "dropout added after pool5 (path1.fc6)",
        "dropout missing after fc7",
    ]
    assert found.parameters == (60_965_224, 61_100_840)
    assert compare(meta(build_as_published, "alexnet-single"), meta(alexnet)).same


def test_inception_v3_and_torchvisions() -> None:
    found = compare(meta(build_as_published, "inception-v3"), meta(Inception3))
    assert found.sentences == [
        "every mean pooling (9 of 9): padding counted there",
        "dropout missing after pool3 (dropout)",  # the copy in the tests is without
    ]


def test_where_option_a_puts_its_zeros() -> None:
    found = compare(meta(build_as_published, "resnet-cifar-20"), meta(CifarResNet, 3))
    assert found.sentences == [
        "number of maps of zeros: conv3_1.shortcut 0 before and 16 after -> 8, "
        "conv4_1.shortcut 0 before and 32 after -> 16"
    ]


def test_against_torchvision_itself() -> None:
    library = pytest.importorskip("torchvision").models
    for ours, theirs in (("resnet-50-v1.5", "resnet50"), ("vgg-d", "vgg16"), ("googlenet-torchvision", "googlenet")):
        assert compare(meta(build_as_published, ours), meta(getattr(library, theirs))).same, ours


# --- the same function written in another way ------------------------------------------------------------------------


class Functional(nn.Module):
    """A small network of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 4, 1, bias=False), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.a(F.pad(x, (1, 2, 0, 1))))
        x = F.local_response_norm(x, 3, 3e-4, 0.5, 2.0)
        return self.c(F.max_pool2d(self.b(x), 2).mean((2, 3)))


def test_functions_and_modules_are_one() -> None:
    conv = Conv(3, 6, 3, stride=2, padding=((0, 1), (1, 2)))
    lrn = LocalResponseNorm(3, alpha=1e-4, beta=0.5, k=2.0)
    modules = sequence(conv, nn.ReLU(inplace=True), lrn, Conv(6, 4, 1, bias=False), MaxPool(2))
    modules.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)])
    assert compare(Functional(), modules, (3, 17, 20)).sentences == SAME
    assert compare(modules, Functional(), (3, 17, 20)).same


@pytest.mark.parametrize(
    ("one", "other", "size"),
    [
        (nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), (2, 4, 4)),
        (nn.MaxPool2d(2, ceil_mode=True), MaxPool(2), (2, 6, 8)),  # nothing hangs over
        (nn.AvgPool2d(2, 2, 1, count_include_pad=False), AvgPool(2, stride=2, padding=1), (2, 5, 5)),
        (nn.Conv2d(2, 4, 3, padding=1, groups=2), Conv(2, 4, 3, padding="same", groups=2), (2, 5, 6)),
        (nn.Sequential(nn.Identity(), nn.Dropout(0.0)), nn.Identity(), (2, 3, 3)),
        (nn.LocalResponseNorm(5, 1e-4), LocalResponseNorm(5, alpha=2e-5, k=1.0), (7, 3, 3)),
    ],
)
def test_layers_that_do_the_same(one: nn.Module, other: nn.Module, size: tuple[int, ...]) -> None:
    first, last = nn.Conv2d(size[0], size[0], 1), nn.Conv2d(4 if "Conv" in str(one) else size[0], 2, 1)
    assert compare(sequence(first, one, last), sequence(first, other, last), size).sentences == SAME


class Paths(nn.Module):
    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Any:
        return torch.cat([path(x) for path in self.paths], 1)


def test_equal_paths_are_groups_and_unequal_ones_are_not() -> None:
    def path(maps: int) -> nn.Module:
        return sequence(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, maps, 3))

    grouped = sequence(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2))
    assert compare(Paths(path(4), path(4)), grouped, (2, 9, 9)).sentences == SAME
    assert not compare(Paths(path(4), path(5)), grouped, (2, 9, 9)).same


def test_the_order_of_branches_is_no_difference() -> None:
    one, three = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 3, padding=1)
    assert compare(Paths(one, three), Paths(three, one), (2, 5, 5)).same


# --- single differences -----------------------------------------------------------------------------------------------


BASE = {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel_size": 1, "padding": 0}, "kernel 3 x 3 -> 1 x 1, padding 1 -> 0"),
        ({"stride": (1, 2)}, "stride 1 -> 1 x 2"),
        ({"dilation": 2}, "dilation 1 -> 2"),
        ({"groups": 2}, "groups 1 -> 2"),
        ({"bias": False}, "no bias there"),
        ({"out_channels": 6}, "maps 4 -> 6"),
    ],
)
def test_one_setting_of_one_convolution(change: dict[str, Any], said: str) -> None:
    def net(**words: Any) -> nn.Module:
        middle = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, **BASE, **words})
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            one=nn.Conv2d(3, 4, 3), two=middle, three=nn.Conv2d(middle.out_channels, 4, 3)
        )
        return nn.Sequential(layers)

    found = compare(net(), net(**change), (3, 16, 16))
    assert found.sentences == [f"two: {said}"]
    assert found.differences[0].places == ("two",)


def test_added_replaced_and_other_constants() -> None:
    def net(*middle: nn.Module) -> nn.Module:
        return sequence(nn.Conv2d(3, 4, 3), *middle, nn.Conv2d(4, 4, 3))

    size = (3, 12, 12)
    assert compare(net(nn.ReLU()), net(nn.ReLU(), nn.Dropout(0.5)), size).sentences == ["dropout added after 1 (2)"]
    assert compare(net(nn.ReLU()), net(nn.Tanh()), size).sentences == ["1: tanh there instead of ReLU"]
    assert compare(net(nn.MaxPool2d(2)), net(nn.AvgPool2d(2)), size).sentences == [
        "1: mean pooling (2 x 2) there instead of max pooling (2 x 2)"
    ]
    assert compare(net(nn.BatchNorm2d(4)), net(nn.BatchNorm2d(4, eps=1e-3)), size).sentences == [
        "1: epsilon 1e-05 -> 0.001"
    ]
    lrn = [LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=k) for k in (1.0, 2.0)]
    assert compare(net(lrn[0]), net(lrn[1]), size).sentences == ["1: k 1 -> 2"]
    assert compare(net(), net(nn.Conv2d(4, 4, 1)), size).sentences == ["convolution (1 x 1, 4 maps) added after 0 (1)"]


class Shared(nn.Module):
    """Branches that share a layer, as in DenseNet: no tree."""

    def __init__(self, maps: int, bias: bool = True) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 2, 1, bias=bias), nn.Conv2d(4, 2, 1), nn.Conv2d(6, maps, 1)

    def forward(self, x: Tensor) -> Any:
        first = self.a(x)
        second = self.b(torch.cat([x, first], 1))
        return self.c(torch.cat([x, first, second], 1))


def test_branches_that_share_layers() -> None:
    assert compare(Shared(3), Shared(3), (2, 4, 4)).same
    assert compare(Shared(3), Shared(5), (2, 4, 4)).sentences == ["c: maps 3 -> 5"]
    found = compare(Shared(3), Shared(3, bias=False), (2, 4, 4))  # a is in two branches and told once
    assert found.sentences == ["a: no bias there"]


# --- totals, JSON, errors --------------------------------------------------------------------------------------------


def test_totals_and_json() -> None:
    found = compare(meta(build_as_published, "lenet5"), meta(build_as_published, "lenet5"))
    assert isinstance(found, Comparison)
    assert found.same
    assert found.to_json()["parameters"] == [60_000, 60_000]
    assert found.as_text("a", "b").splitlines()[:2] == ["a -> b", "  no architectural difference"]


def test_parameters_outside_the_forward_pass_are_told_apart() -> None:
    found = compare(meta(build_as_published, "googlenet-torchvision"), meta(GoogLeNet))
    assert found.parameters == (6_624_904,) * 2
    assert found.unused == (6_379_984,) * 2
    assert sum(p.numel() for p in meta(GoogLeNet).parameters()) == 6_624_904 + 6_379_984
    assert "parameters outside the forward pass: 6,379,984 in both" in found.as_text()


def test_networks_of_other_inputs() -> None:
    a, b = build_as_published("lenet5-modern"), meta(build_as_published, "convnet")
    found = compare(a, b)
    assert found.input_sizes == ((1, 32, 32), (3, 32, 32))
    assert not found.same
    assert "input: 1 x 32 x 32 -> 3 x 32 x 32" in found.as_text()


def test_the_networks_come_back_unchanged() -> None:
    model = sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    compare(model, model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_what_cannot_be_compared() -> None:
    net = sequence(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(10, 2))
    with pytest.raises(InputError, match="give input_size, such as"):
        compare(net, net)
    with pytest.raises(InputError, match="integers of 1 or more, got"):
        compare(net, net, (3, 0, 8))
    with pytest.raises(InputError, match="the first network stops at") as caught:
        compare(net, net, (3, 8, 8))
    assert not re.search(r"\n", str(caught.value))
