"""Inception-v3 against table 1 of its paper and, written out in plain PyTorch, the network its authors released."""

import copy

import pytest
import torch
import torch.nn.functional as F
from plain_inception import Plain, average, biggest, shaken
from torch import Tensor

from striate.errors import InputError
from striate.models import build, published
from striate.models.auxiliary import HasAuxiliaries
from striate.models.inception_v3 import AuxiliaryClassifier, InceptionV3, inception_v3


def mixed_5(net: Plain, x: Tensor, pool: int) -> Tensor:
    """35 x 35: 1 x 1, 5 x 5, double 3 x 3, pooling."""
    one, five = net.conv(x, 64), net.conv(net.conv(x, 48), 64, 5)
    double = net.conv(net.conv(net.conv(x, 64), 96, 3), 96, 3)
    return torch.cat([one, five, double, net.conv(average(x), pool)], 1)


def mixed_6a(net: Plain, x: Tensor) -> Tensor:
    three = net.conv(x, 384, 3, 2, valid=True)
    double = net.conv(net.conv(net.conv(x, 64), 96, 3), 96, 3, 2, valid=True)
    return torch.cat([three, double, biggest(x)], 1)


def mixed_6(net: Plain, x: Tensor, n: int) -> Tensor:
    """17 x 17: 1 x 1, 7 x 7 as 1 x 7 and 7 x 1, twice 7 x 7 begun by 7 x 1, pooling."""
    one = net.conv(x, 192)
    seven = net.conv(net.conv(net.conv(x, n), n, (1, 7)), 192, (7, 1))
    double = net.conv(net.conv(net.conv(x, n), n, (7, 1)), n, (1, 7))
    double = net.conv(net.conv(double, n, (7, 1)), 192, (1, 7))
    return torch.cat([one, seven, double, net.conv(average(x), 192)], 1)


def mixed_7a(net: Plain, x: Tensor) -> Tensor:
    three = net.conv(net.conv(x, 192), 320, 3, 2, valid=True)
    seven = net.conv(net.conv(net.conv(x, 192), 192, (1, 7)), 192, (7, 1))
    return torch.cat([three, net.conv(seven, 192, 3, 2, valid=True), biggest(x)], 1)


def mixed_7(net: Plain, x: Tensor) -> Tensor:
    """8 x 8: 1 x 1, 3 x 3 and double 3 x 3 with 1 x 3 beside 3 x 1, pooling."""
    one, three = net.conv(x, 320), net.conv(x, 384)
    three = torch.cat([net.conv(three, 384, (1, 3)), net.conv(three, 384, (3, 1))], 1)
    double = net.conv(net.conv(x, 448), 384, 3)
    double = torch.cat([net.conv(double, 384, (1, 3)), net.conv(double, 384, (3, 1))], 1)
    return torch.cat([one, three, double, net.conv(average(x), 192)], 1)


def released(net: Plain, x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The logits, and the last maps of 17 x 17 for the auxiliary classifier."""
    x = net.conv(net.conv(net.conv(x, 32, 3, 2, valid=True), 32, 3, valid=True), 64, 3)
    x = net.conv(net.conv(biggest(x), 80), 192, 3, valid=True)
    x = biggest(x)
    for pool in (32, 64, 64):
        x = mixed_5(net, x, pool)
    x = mixed_6a(net, x)
    for n in (128, 160, 160, 192):
        x = mixed_6(net, x, n)
    side, x = x, mixed_7a(net, x)
    for _ in range(2):
        x = mixed_7(net, x)
    return net.dense(x.mean((2, 3)), classes), side


def released_auxiliary(net: Plain, x: Tensor, classes: int) -> Tensor:
    x = net.conv(F.avg_pool2d(x, 5, 3), 128)
    return net.dense(net.conv(x, 768, 5, valid=True).mean((2, 3)), classes)


@pytest.fixture(scope="module")
def model() -> InceptionV3:
    torch.manual_seed(0)
    return shaken(build("inception-v3", classes=4, channels=2, size=(75, 107)))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def meta() -> InceptionV3:
    with torch.device("meta"):
        return inception_v3().eval()


def test_it_is_the_released_network(model: InceptionV3) -> None:
    x = torch.randn(2, 2, 75, 107, dtype=torch.float64)
    net = Plain(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), released(net, x, 4)[0], rtol=1e-9, atol=1e-9)
        side = torch.rand(2, 768, 17, 20, dtype=torch.float64)
        assert model.auxiliary is not None
        torch.testing.assert_close(model.auxiliary(side), released_auxiliary(net, side, 4), rtol=1e-9, atol=1e-9)
    assert net.tensors == []


def test_torchvision_differs_in_the_mean_at_the_border_only(model: InceptionV3) -> None:
    """Its copy counts the zeros beyond the border: the same parameters, other logits; with our mean, the same."""
    x = torch.randn(1, 2, 75, 107, dtype=torch.float64)
    theirs = copy.deepcopy(model)
    for module in theirs.modules():
        if hasattr(module, "count_padding"):
            module.count_padding = True  # type: ignore[assignment]
    maps = torch.ones(1, 1, 5, 6)
    assert torch.equal(average(maps), maps)
    assert F.avg_pool2d(maps, 3, 1, 1)[0, 0, 0, 0] == pytest.approx(4 / 9)
    with torch.no_grad():
        assert (theirs(x) - model(x)).abs().max() > 1e-3


def test_counts_as_released_are_those_of_the_network(meta: InceptionV3) -> None:
    with torch.device("meta"):
        net = Plain(meta)
        _, side = released(net, torch.empty(1, 3, 299, 299), 1000)
        without_side = net.parameters, net.macs
        released_auxiliary(net, side, 1000)
        alone = inception_v3(auxiliary=False)
    assert without_side == (23_834_568, 5_713_216_096)
    assert sum(p.numel() for p in alone.parameters()) == 23_834_568 < 25_000_000  # the abstract's limit
    assert net.parameters == sum(p.numel() for p in meta.parameters()) == 27_161_264


def test_one_module_by_hand(meta: InceptionV3) -> None:
    """The second module at 35 x 35, with 256 maps in, counted with pencil."""
    filters = 256 * 64 + 256 * 48 + 25 * 48 * 64 + 256 * 64 + 9 * 64 * 96 + 9 * 96 * 96 + 256 * 64
    norms = 2 * (64 + 48 + 64 + 64 + 96 + 96 + 64)
    found = sum(p.numel() for p in meta.get_submodule("inception_fig5_2").parameters())
    assert found == filters + norms == 277_472


def test_features_have_the_sizes_of_the_table(meta: InceptionV3) -> None:
    with torch.device("meta"):
        seen = meta.features(torch.empty(2, 3, 299, 299))
    assert list(seen) == [
        *("conv1", "conv2", "conv3", "pool1", "conv4", "conv5", "pool2"),
        *("inception_fig5_1", "inception_fig5_2", "inception_fig5_3", "reduction_fig10_1"),
        *("inception_fig6_1", "inception_fig6_2", "inception_fig6_3", "inception_fig6_4", "reduction_fig10_2"),
        *("inception_fig7_1", "inception_fig7_2", "pool3", "dropout", "linear", "logits"),
    ]
    figures = [figure for figure in published("inception-v3") if figure.quantity == "output_size"]
    assert len(figures) == 16
    for figure in figures:
        assert tuple(seen[figure.layer].shape[1:]) == (figure.ours or figure.value), figure.layer
    assert [figure.layer for figure in figures if figure.departs] == ["conv4", "conv5", "inception_fig5_1"]


def test_the_auxiliary_classifier_sees_the_last_17_x_17(model: InceptionV3) -> None:
    x = torch.randn(2, 2, 75, 107, dtype=torch.float64)
    assert isinstance(model, HasAuxiliaries)
    assert model.auxiliary_weights == {"auxiliary": 0.4}
    with torch.no_grad():
        logits, auxiliaries = model.forward_auxiliaries(x)
        assert torch.equal(logits, model(x))
        assert model.auxiliary is not None
        expected = model.auxiliary(model.features(x)["inception_fig6_4"])
    assert list(auxiliaries) == ["auxiliary"]
    assert torch.equal(auxiliaries["auxiliary"], expected)


def test_without_the_auxiliary_classifier() -> None:
    with torch.device("meta"):
        alone = inception_v3(classes=3, channels=1, size=(75, 75), auxiliary=False).eval()
        logits, auxiliaries = alone.forward_auxiliaries(torch.empty(1, 1, 75, 75))
    assert logits.shape == (1, 3)
    assert alone.auxiliary_weights == auxiliaries == {}
    assert not any(name.startswith("auxiliary") for name in alone.state_dict())


def test_the_auxiliary_classifier_on_small_maps() -> None:
    """Below 17 x 17 the maps are pooled to 5 x 5; a map of that size is taken as it is."""
    head = AuxiliaryClassifier(6, 3).eval()
    x = torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        expected = head.linear(head.conv2(head.conv1(x)).flatten(1))
        torch.testing.assert_close(head(x), expected)
        torch.testing.assert_close(head(x.repeat_interleave(3, 2).repeat_interleave(2, 3)), expected)
        assert head(torch.randn(0, 6, 1, 30)).shape == (0, 3)
        assert head(torch.randn(1, 6, 16, 99)).shape == (1, 3)


def test_weights_start_as_released() -> None:
    """Normal, cut at two standard deviations, which makes the deviation 0.8796 of its name."""
    torch.manual_seed(0)
    fresh = inception_v3(classes=100, channels=3)
    names = {"inception_fig6_1.branch2.1.conv": 0.1, "linear": 0.01, "auxiliary.linear": 0.001}
    for name, std in {**names, "auxiliary.conv2.conv": 0.01, "auxiliary.conv1.conv": 0.1}.items():
        weight = fresh.get_parameter(f"{name}.weight")
        assert weight.abs().max() <= 2 * std * 1.0001, name
        assert abs(weight.std() / (0.8796 * std) - 1) < 0.03, name
    assert not fresh.get_parameter("linear.bias").any()
    assert {module.eps for module in fresh.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.001}


@pytest.mark.slow
def test_recomputing_changes_no_gradient(model: InceptionV3) -> None:
    again = inception_v3(classes=4, channels=2, size=(75, 107), recompute=True)
    assert again.recompute >= {"inception_fig5_1", "reduction_fig10_2"}
    again.double().eval().load_state_dict(model.state_dict())
    x = torch.randn(1, 2, 75, 75, dtype=torch.float64)
    for net in (model, again):
        net.zero_grad()
        logits, auxiliaries = net.forward_auxiliaries(x)
        (logits.square().sum() + auxiliaries["auxiliary"].square().sum()).backward()  # type: ignore[no-untyped-call]
    for (name, a), b in zip(model.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    model.zero_grad()


@pytest.mark.parametrize("name", ["inception-v3", "inception-v4", "inception-resnet-v1", "inception-resnet-v2"])
def test_wrong_calls(name: str) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"size": (75, 74)}, f"{name}: takes images of at least 75 x 75, the data gives 75 x 74"),
        ({"dropout": 1}, f"{name}: dropout must be at least 0 and below 1, got 1"),
        ({"recompute": "yes"}, f"{name}: recompute must be true or false, got 'yes'"),
    ]
    if name == "inception-v3":
        wrong.append(({"auxiliary": 1}, f"{name}: auxiliary must be true or false, got 1"))
    with torch.device("meta"):
        for options, sentence in wrong:
            with pytest.raises(InputError) as caught:
                build(name, **options)  # type: ignore[arg-type]
            assert str(caught.value).startswith(sentence)
        net = build(name, classes=2, channels=1, size=(80, 90), dropout=0.5, recompute=True)
        assert net.recompute == set(net.order[:-3])  # type: ignore[index]
        assert net.get_submodule("dropout").p == 0.5
        for method in ("forward", "features", "forward_auxiliaries"):
            with pytest.raises(InputError) as caught:
                getattr(net, method, net)(torch.empty(2, 3, 80, 90))
            assert str(caught.value) == f"{name}: the input (2, 3, 80, 90) is not N x 1 x H x W of at least 75 x 75"
