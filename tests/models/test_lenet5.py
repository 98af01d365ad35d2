"""LeNet-5 against the numbers of section 5.4.1 of the textbook and section II of the paper, typed from there."""

import math

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.geometry import LayerCount, count_conv, count_dense, count_rbf, count_subsample, make_window
from striate.models import build
from striate.models.lenet5 import c3_links, digit_bitmaps
from striate.nn import RBF, Conv, Subsample

# name: (neurons, trainable parameters, connections) as printed; None where the text gives no number
PRINTED = {
    "C1": (4_704, 156, 122_304),
    "S2": (1_176, 12, 5_880),
    "C3": (1_600, 1_516, 151_600),
    "S4": (400, 32, 2_000),
    "C5": (120, 48_120, 48_120),
    "F6": (84, 10_164, 10_164),
}
SIZES = {"C1": (6, 28, 28), "S2": (6, 14, 14), "C3": (16, 10, 10), "S4": (16, 5, 5), "C5": (120, 1, 1), "F6": (84,)}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build("lenet5")


def count(layer: nn.Module, size: tuple[int, ...]) -> LayerCount:
    """Count a layer of the real network by the rules of `geometry`."""
    if isinstance(layer, Conv):
        links = None if layer.links is None else layer.links.tolist()
        window = make_window(2, layer.kernel)
        return count_conv(size[1:], window, layer.in_channels, layer.out_channels, links=links)
    if isinstance(layer, Subsample):
        return count_subsample(size[1:], make_window(2, layer.kernel, stride=layer.kernel), size[0])
    if isinstance(layer, nn.Linear):
        return count_dense(layer.in_features, layer.out_features)
    assert isinstance(layer, RBF)
    return count_rbf(84, 10)


def test_every_layer_has_the_printed_size(model: nn.Module) -> None:
    seen = model.features(torch.zeros(3, 1, 32, 32))  # type: ignore[operator]
    assert {name: tuple(seen[name].shape[1:]) for name in SIZES} == SIZES
    assert seen["logits"].shape == (3, 10)


def test_every_layer_has_the_printed_counts(model: nn.Module) -> None:
    size: tuple[int, ...] = (1, 32, 32)
    total = LayerCount(0, 0, 0, 0)
    for name, printed in PRINTED.items():
        layer = model.get_submodule(name)
        counted = count(layer, size)
        assert (counted.neurons, counted.parameters, counted.connections) == printed, name
        assert sum(p.numel() for p in layer.parameters()) == printed[1], name
        assert counted.neurons == math.prod(SIZES[name]), name
        size, total = SIZES[name], total + counted
    total += count(model.get_submodule("output"), size)
    assert total.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad) == 60_000
    assert total.connections == 340_908


def test_c3_follows_the_table() -> None:
    """The paper's words: 6 maps see 3 neighbours, 6 see 4 neighbours, 3 see 4 others, 1 sees all; around the circle."""
    links = c3_links()
    seen = [{d for d in range(6) if row[d]} for row in links]
    assert seen[:6] == [{d % 6, (d + 1) % 6, (d + 2) % 6} for d in range(6)]
    assert seen[6:12] == [{(d + k) % 6 for k in range(4)} for d in range(6)]
    assert seen[12:15] == [{0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}]
    assert seen[15] == set(range(6))
    assert sum(map(sum, links)) == 60


def test_c3_stores_sixty_kernels(model: nn.Module) -> None:
    assert model.get_submodule("C3").weight.shape == (60, 5, 5)


def test_c3_computes_what_the_table_says(model: nn.Module) -> None:
    """A change of one map of S2 changes exactly the maps of C3 that are linked to it."""
    layer, generator = model.get_submodule("C3"), torch.Generator().manual_seed(0)
    x = torch.randn(1, 6, 14, 14, generator=generator)
    for d in range(6):
        changed = x.clone()
        changed[:, d] += 1
        moved = ((layer(changed) - layer(x)).abs().amax((0, 2, 3)) > 1e-6).tolist()
        assert moved == [bool(row[d]) for row in c3_links()]


def test_forward_is_the_papers_sequence(model: nn.Module) -> None:
    """The whole network once more, from its parameters, in plain PyTorch and float64."""
    double = build("lenet5").double()
    double.load_state_dict(model.double().state_dict())
    model.float()
    x = torch.randn(4, 1, 32, 32, dtype=torch.float64)
    p = dict(double.named_parameters())

    def squash(a: torch.Tensor) -> torch.Tensor:
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(a: torch.Tensor, name: str) -> torch.Tensor:
        summed = a[..., ::2, ::2] + a[..., 1::2, ::2] + a[..., ::2, 1::2] + a[..., 1::2, 1::2]
        return squash(p[f"{name}.weight"].view(-1, 1, 1) * summed + p[f"{name}.bias"].view(-1, 1, 1))

    h = subsample(squash(nn.functional.conv2d(x, p["C1.weight"], p["C1.bias"])), "S2")
    dense, kernels = torch.zeros(16, 6, 5, 5, dtype=torch.float64), iter(p["C3.weight"])
    for row, links in enumerate(c3_links()):
        for d, linked in enumerate(links):
            if linked:
                dense[row, d] = next(kernels)
    h = subsample(squash(nn.functional.conv2d(h, dense, p["C3.bias"])), "S4")
    h = squash(nn.functional.conv2d(h, p["C5.weight"], p["C5.bias"])).flatten(1)
    h = squash(h @ p["F6.weight"].T + p["F6.bias"])
    distances = ((h[:, None, :] - digit_bitmaps().double()) ** 2).sum(-1)
    torch.testing.assert_close(double(x), -distances, rtol=1e-12, atol=1e-12)


def test_bitmaps_are_twelve_by_seven_signs_and_all_differ() -> None:
    bitmaps = digit_bitmaps()
    assert bitmaps.shape == (10, 84)
    assert set(bitmaps.unique().tolist()) == {-1.0, 1.0}
    assert len({tuple(row.tolist()) for row in bitmaps}) == 10
    one = bitmaps[1].view(12, 7)
    assert one[2].tolist() == [-1, 1, 1, 1, 1, -1, -1]
    assert one[9].tolist() == [-1, 1, 1, 1, 1, 1, 1]
    assert (bitmaps.view(10, 12, 7)[[0, 1, 2, 3, 5, 6, 7, 8, 9], 10:] == -1).all()


def test_the_bitmaps_are_fixed(model: nn.Module) -> None:
    assert not any(name.startswith("output") for name, _ in model.named_parameters())


def test_weights_start_within_the_papers_bounds() -> None:
    torch.manual_seed(1)
    fresh = build("lenet5")
    fan_in = {"C1": 25, "S2": 4, "S4": 4, "C5": 400, "F6": 120}
    for name, inputs in fan_in.items():
        for parameter in fresh.get_submodule(name).parameters():
            assert parameter.abs().max() <= 2.4 / inputs
        weight = fresh.get_submodule(name).weight
        assert weight.abs().max() > 0.5 * 2.4 / inputs, "not all near zero"
    kernels = iter(fresh.get_submodule("C3").weight)
    for row in c3_links():
        for _ in range(sum(row)):
            assert next(kernels).abs().max() <= 2.4 / (25 * sum(row))


def test_the_modern_variant() -> None:
    modern = build("lenet5-modern")
    assert sum(p.numel() for p in modern.parameters()) == 156 + 2_416 + 48_120 + 10_164 + 850 == 61_706
    assert modern(torch.randn(2, 1, 32, 32)).shape == (2, 10)
    assert {type(m).__name__ for m in modern.modules()} >= {"MaxPool", "ReLU"}


@pytest.mark.parametrize("name", ["lenet5", "lenet5-modern"])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_batches_of_any_size(name: str, batch: int) -> None:
    x = torch.randn(batch, 1, 32, 32, requires_grad=True)
    logits = build(name)(x)
    assert logits.shape == (batch, 10)
    logits.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("name", ["lenet5", "lenet5-modern"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    net = build(name)
    nn.functional.cross_entropy(net(torch.randn(8, 1, 32, 32)), torch.arange(8)).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_other_classes_and_channels() -> None:
    net = build("lenet5", classes=3, channels=3)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert build("lenet5-modern", classes=47)(torch.randn(2, 1, 32, 32)).shape == (2, 47)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "lenet"}, "unknown model 'lenet'; did you mean 'lenet5'?"),
        (
            {"name": "lenet5", "classes": 11},
            "lenet5: the paper's RBF units have bitmaps for 10 classes, the data has 11; "
            "use the model 'lenet5-modern' or 'convnet'",
        ),
        (
            {"name": "lenet5", "size": (28, 28)},
            "lenet5: takes 32 x 32 images, the data gives 28 x 28; "
            "set data.size and data.border so that size + 2 * border is 32, or use the model 'convnet'",
        ),
        ({"name": "lenet5", "depth": 3}, "model 'lenet5' has no option 'depth'; it takes none"),
        ({"name": "convnet", "dense_": 3}, "model 'convnet' has no option 'dense_'; did you mean 'dense'?"),
        ({"name": "convnet", "classes": 1}, "model 'convnet': a classifier needs at least 2 classes, got 1"),
    ],
)
def test_wrong_calls(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_wrong_input_says_both_shapes(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"lenet5: the input \(2, 1, 28, 28\) is not N x 1 x 32 x 32"):
        model(torch.zeros(2, 1, 28, 28))
