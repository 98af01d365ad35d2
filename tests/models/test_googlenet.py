"""GoogLeNet: table 1 of the paper, the structure against networks written by hand, its auxiliary classifiers."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, published
from striate.models.auxiliary import HasAuxiliaries
from striate.models.googlenet import TABLE1, Auxiliary, GoogLeNet, googlenet
from striate.nn import Conv

# Table 1 as printed: input maps, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, output maps, ops in millions.
PRINTED = {
    "inception_3a": (192, 64, 96, 128, 16, 32, 32, 256, 128),
    "inception_3b": (256, 128, 128, 192, 32, 96, 64, 480, 304),
    "inception_4a": (480, 192, 96, 208, 16, 48, 64, 512, 73),
    "inception_4b": (512, 160, 112, 224, 24, 64, 64, 512, 88),
    "inception_4c": (512, 128, 128, 256, 24, 64, 64, 512, 100),
    "inception_4d": (512, 112, 144, 288, 32, 64, 64, 528, 119),
    "inception_4e": (528, 256, 160, 320, 32, 128, 128, 832, 170),
    "inception_5a": (832, 256, 160, 320, 32, 128, 128, 832, 54),
    "inception_5b": (832, 384, 192, 384, 48, 128, 128, 1024, 71),
}
SIDES = {"3": 28, "4": 14, "5": 7}


def weights_of(name: str) -> tuple[int, int]:
    """Weights and biases of a module, from the printed maps alone."""
    d, one, r3, three, r5, five, proj, _, _ = PRINTED[name]
    weights = d * one + d * r3 + 9 * r3 * three + d * r5 + 25 * r5 * five + d * proj
    return weights, one + r3 + three + r5 + five + proj


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def meta(row: str = "paper", **options: object) -> GoogLeNet:
    with torch.device("meta"):
        return googlenet(row, **options)  # type: ignore[arg-type]


def small(row: str = "paper", size: tuple[int, int] = (79, 128), **options: object) -> GoogLeNet:
    torch.manual_seed(0)
    return googlenet(row, classes=5, channels=2, size=size, **options)  # type: ignore[arg-type]


def test_modules_have_the_parameters_of_their_maps() -> None:
    model = meta()
    total = 64 * (3 * 49 + 1) + 64 * (64 + 1) + 192 * (64 * 9 + 1) + 1000 * 1025
    for name in PRINTED:
        found = count(model.get_submodule(name))
        assert found == sum(weights_of(name)), name
        total += found
    without = meta(auxiliaries=False)
    assert count(without) == total == 6_998_552
    head = {"auxiliary_4a": 512, "auxiliary_4d": 528}
    for name, maps in head.items():
        assert count(model.get_submodule(name)) == 128 * (maps + 1) + 1024 * (2048 + 1) + 1000 * 1025
    assert count(model) - total == sum(count(model.get_submodule(name)) for name in head)


def test_sizes_are_those_of_table_1() -> None:
    with torch.device("meta"):
        seen = build_as_published("googlenet").features(torch.empty(2, 3, 224, 224))  # type: ignore[operator]
    for figure in published("googlenet"):
        if figure.quantity == "output_size":
            assert tuple(seen[figure.layer].shape[1:]) == figure.value, figure.layer
    for name, row in PRINTED.items():
        side = SIDES[name.split("_")[1][0]]
        assert seen[name].shape == (2, row[7], side, side), name
    assert [figure.layer for figure in published("googlenet") if figure.quantity == "output_size"] == [
        name for name in seen if name not in {"norm1", "norm2", "logits"}
    ]


def test_published_figures_follow_from_the_printed_maps() -> None:
    """Ours is counted by hand here; what the paper prints agrees within its rounding, or is said to depart."""
    parameters = {name: sum(weights_of(name)) for name in PRINTED}
    macs = {name: weights_of(name)[0] * SIDES[name.split("_")[1][0]] ** 2 for name in PRINTED}
    parameters |= {"conv1": 64 * 148, "conv2": 64 * 65 + 192 * 577, "linear": 1_025_000}
    macs |= {"conv1": 64 * 147 * 112**2, "conv2": (64 * 64 + 192 * 576) * 56**2, "linear": 1_024_000}
    departing = []
    for figure in published("googlenet"):
        if figure.quantity == "output_size":
            continue
        ours = (parameters if figure.quantity == "parameters" else macs)[figure.layer]
        assert isinstance(figure.value, int)
        agrees = abs(ours - figure.value) <= figure.tolerance
        assert agrees != bool(figure.departs), figure
        assert figure.ours == (None if agrees else ours), figure
        departing += [] if agrees else [(figure.layer, figure.quantity)]
    assert [layer for layer, quantity in departing if quantity == "macs"] == ["conv1", "inception_5a"]
    assert len(departing) == 10


def test_it_is_22_layers_deep() -> None:
    """Section 5: 22 layers with parameters on the longest way (a module counts two), five poolings."""
    model = meta()
    deep = dict.fromkeys((*PRINTED, "conv2"), 2) | {"conv1": 1, "linear": 1}
    assert sum(deep[name] for name in model.order if count(model.get_submodule(name))) == 22
    assert [name for name in model.order if name.startswith("pool")] == ["pool1", "pool2", "pool3", "pool4", "pool5"]


def plain_googlenet(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's network in plain functions, for evaluation; returns logits and both auxiliary logits."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        return F.relu(F.conv2d(x, weight, state[f"{name}.conv.bias"], stride, weight.shape[2] // 2))

    def norm(x: Tensor) -> Tensor:
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def module(name: str, x: Tensor) -> Tensor:
        one = conv(f"{name}.conv1x1", x)
        three = conv(f"{name}.conv3x3", conv(f"{name}.reduce3x3", x))
        five = conv(f"{name}.conv5x5", conv(f"{name}.reduce5x5", x))
        return torch.cat([one, three, five, conv(f"{name}.pool_proj", F.max_pool2d(x, 3, 1, 1))], 1)

    def dense(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def auxiliary(name: str, x: Tensor) -> Tensor:
        x = conv(f"{name}.conv", F.avg_pool2d(x, 5, 3)).flatten(1)
        return dense(f"{name}.linear", F.relu(dense(f"{name}.fc", x)))

    x = norm(pool(conv("conv1", x, 2)))
    x = pool(norm(conv("conv2.conv", conv("conv2.reduce", x))))
    x = pool(module("inception_3b", module("inception_3a", x)))
    x = module("inception_4a", x)
    at_4a = auxiliary("auxiliary_4a", x)
    x = module("inception_4d", module("inception_4c", module("inception_4b", x)))
    at_4d = auxiliary("auxiliary_4d", x)
    x = pool(module("inception_4e", x))
    x = module("inception_5b", module("inception_5a", x))
    return dense("linear.linear", x.mean((2, 3))), at_4a, at_4d


def test_the_network_is_the_one_written_by_hand() -> None:
    model = small().eval().double()  # sums in another order round differently
    with torch.no_grad():
        for parameter in model.parameters():  # livelier maps than the first weights give
            parameter.mul_(1.3)
        x = 10 * torch.randn(2, 2, 79, 128, dtype=torch.float64)
        logits, auxiliaries = model.forward_auxiliaries(x)
        expected, at_4a, at_4d = plain_googlenet(model.state_dict(), x)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(auxiliaries, {"auxiliary_4a": at_4a, "auxiliary_4d": at_4d})
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(model(x), expected)
    seen = model.features(x)
    assert seen["inception_4a"].shape == (2, 512, 5, 8)


class PlainConv(nn.Module):
    """torchvision's BasicConv2d."""

    def __init__(self, d: int, p: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(d, p, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(p, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class PlainInception(nn.Module):
    """torchvision's Inception, with its 3 x 3 convolution where the paper has 5 x 5."""

    def __init__(self, d: int, one: int, r3: int, three: int, r5: int, five: int, proj: int) -> None:
        super().__init__()
        self.branch1 = PlainConv(d, one, 1)
        self.branch2 = nn.Sequential(PlainConv(d, r3, 1), PlainConv(r3, three, 3, padding=1))
        self.branch3 = nn.Sequential(PlainConv(d, r5, 1), PlainConv(r5, five, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), PlainConv(d, proj, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class PlainAuxiliary(nn.Module):
    """torchvision's InceptionAux, without its dropout."""

    def __init__(self, d: int, classes: int) -> None:
        super().__init__()
        self.conv = PlainConv(d, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


class PlainTorchvision(nn.Module):
    """torchvision's GoogLeNet, without its dropout."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        maps = [PRINTED[name][:7] for name in PRINTED]
        three, four, five = ([PlainInception(*row) for row in maps[a:b]] for a, b in ((0, 2), (2, 7), (7, 9)))
        pool = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
        stem = [PlainConv(channels, 64, 7, 2, 3), pool[0], PlainConv(64, 64, 1), PlainConv(64, 192, 3, 1, 1), pool[1]]
        self.to_4a = nn.Sequential(*stem, *three, pool[2], four[0])
        self.to_4d = nn.Sequential(*four[1:4])
        self.rest = nn.Sequential(four[4], nn.MaxPool2d(2, 2, ceil_mode=True), *five)
        self.fc = nn.Linear(1024, classes)
        self.aux1, self.aux2 = PlainAuxiliary(512, classes), PlainAuxiliary(528, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at_4a = self.to_4a(x)
        at_4d = self.to_4d(at_4a)
        return self.fc(self.rest(at_4d).mean((2, 3))), self.aux1(at_4a), self.aux2(at_4d)


def test_torchvisions_row_is_torchvisions_network() -> None:
    model = small("torchvision", (96, 110)).eval()
    plain = PlainTorchvision(2, 5).eval()
    ours = model.state_dict()
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.values(), strict=True)))
    with torch.no_grad():
        for module in (model, plain):
            generator = torch.Generator().manual_seed(1)
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        x = torch.randn(2, 2, 96, 110)
        logits, auxiliaries = model.forward_auxiliaries(x)
        expected = plain(x)
    for found, wanted in zip((logits, *auxiliaries.values()), expected, strict=True):
        torch.testing.assert_close(found, wanted)
        assert wanted.std() > 1e-3


def test_torchvisions_row_has_its_parameters() -> None:
    assert count(meta("torchvision", auxiliaries=False)) == 6_624_904
    assert count(meta("torchvision")) == 13_004_888
    first = small("torchvision", auxiliaries=False).get_parameter("conv2.conv.conv.weight").detach()
    assert float(first.abs().max()) <= 0.02
    assert float(first.std()) == pytest.approx(0.0088, rel=0.03)  # a normal of 0.01 cut at two deviations


def test_auxiliary_classifiers_follow_the_protocol() -> None:
    model = small()
    assert isinstance(model, HasAuxiliaries)
    assert model.auxiliary_weights == {"auxiliary_4a": 0.3, "auxiliary_4d": 0.3}
    heads = [module for module in model.modules() if isinstance(module, Auxiliary)]
    assert [head.dropout.p for head in heads] == [0.7, 0.7]
    without = small(auxiliaries=False).eval()
    x = torch.randn(1, 2, 79, 128)
    logits, found = without.forward_auxiliaries(x)
    assert found == {}
    assert torch.equal(logits, without(x))


def test_auxiliary_classifiers_keep_their_size_and_the_network_does_not() -> None:
    with torch.device("meta"):
        model = googlenet(size=(224, 224))
        assert model.get_submodule("auxiliary_4a.fc").in_features == 128 * 4 * 4
        assert model(torch.empty(1, 3, 300, 417)).shape == (1, 1000)
        with pytest.raises(InputError, match=re.escape("built for maps of 14 x 14 and got 18 x 26; build the network")):
            model.forward_auxiliaries(torch.empty(1, 3, 300, 417))


@pytest.mark.parametrize("size", [(31, 31), (31, 64), (78, 79), (80, 225), (32, 113)])
def test_any_size_from_the_smallest_on(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = googlenet(channels=1, classes=4, size=size)
        logits, found = model.forward_auxiliaries(torch.empty(3, 1, *size))
    assert logits.shape == (3, 4)
    assert {head.shape for head in found.values()} == {(3, 4)}


def test_the_smallest_size_is_the_smallest() -> None:
    with torch.device("meta"):
        model = googlenet()
        model.smallest = (1, 1)
        model(torch.empty(1, 3, 31, 31))
        with pytest.raises(InputError):
            model(torch.empty(1, 3, 30, 31))


def test_initialisation_is_that_of_the_replication() -> None:
    model = small()
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            fan_in = module.weight[0].numel()
            bound = (3 / fan_in) ** 0.5
            largest = float(module.weight.detach().abs().max())
            assert 0.9 * bound < largest <= bound, name
            assert module.bias is not None
            expected = 0.0 if name in {"linear.linear", "auxiliary_4a.linear", "auxiliary_4d.linear"} else 0.2
            assert torch.equal(module.bias.detach(), torch.full_like(module.bias, expected)), name


@pytest.mark.parametrize("row", ["paper", "torchvision"])
def test_recomputing_gives_the_same_gradients(row: str) -> None:
    x = torch.randn(2, 2, 40, 40)
    gradients = []
    for recompute in (False, True):
        model = small(row, (40, 40), recompute=recompute)
        torch.manual_seed(1)
        logits, heads = model.forward_auxiliaries(x)
        sum(head.square().sum() for head in (logits, *heads.values())).backward()  # type: ignore[union-attr]
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert small(recompute=True).recompute == {"conv2", *PRINTED}
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": -0.1}, "googlenet: dropout must be at least 0 and below 1, got -0.1"),
        ({"auxiliaries": "yes"}, "googlenet: auxiliaries must be true or false, got 'yes'"),
        ({"recompute": 0}, "googlenet: recompute must be true or false, got 0"),
        ({"size": (224, 30)}, "googlenet: takes images of at least 31 x 31, the data gives 224 x 30"),
    ],
)
def test_unfit_options_are_refused(options: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=re.escape(message)):
        build("googlenet", **options)  # type: ignore[arg-type]


def test_rows_and_inputs_are_checked() -> None:
    with pytest.raises(InputError, match="googlenet: the rows are paper and torchvision, got 'caffe'"):
        googlenet("caffe")
    with torch.device("meta"), pytest.raises(InputError, match="is not N x 3 x H x W of at least 31 x 31"):
        googlenet()(torch.empty(1, 3, 30, 224))


def test_the_table_is_the_printed_one() -> None:
    maps = 192
    for row in TABLE1:
        assert (maps, *row[1:], row.maps) == PRINTED[row.name][:8]
        maps = row.maps
