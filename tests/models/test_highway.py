"""Highway networks against the tables of Srivastava et al. 2015, their released definitions, and plain PyTorch."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from striate.errors import InputError
from striate.models import build, build_as_published, names, published
from striate.models._chain import Chain
from striate.nn import Conv, Highway

# layers and parameters as printed; of mnist-32 the figure is cut, not rounded
PRINTED = {
    "cifar-1": (11, "236K"),
    "cifar-2": (19, "2.3M"),
    "cifar-3": (19, "1.4M"),
    "cifar-4": (32, "1.25M"),
    "cifar-19": (19, "2.3M"),
    "mnist-16": (10, "39K"),
    "mnist-32": (10, "151K"),
}
# maps and windows of each layer, by hand; a stage ends in a pooling
ALTERNATING = [3, 1] * 5
STAGES: dict[str, list[tuple[int, list[int]]]] = {
    "cifar-1": [(16, [3] * 3), (32, [3] * 3), (64, [3] * 3)],
    "cifar-2": [(32, [3] * 5), (80, [3] * 6), (128, [3] * 6)],
    "cifar-3": [(32, [3] * 5), (64, [3] * 6), (96, [3] * 6)],
    "cifar-4": [(48, ALTERNATING), (64, ALTERNATING), (88, ALTERNATING)],
    "cifar-19": [(32, [3] * 5), (80, [3] * 6), (128, [3] * 6)],
    "mnist-16": [(16, [5, 3, 3]), (16, [3] * 3), (16, [3] * 3)],
    "mnist-32": [(32, [5, 3, 3]), (32, [3] * 3), (32, [3] * 3)],
}


def network(name: str, **options: Any) -> Chain:
    model = build(name, **options)
    assert isinstance(model, Chain)
    return model


def as_published(name: str) -> Chain:
    """The network of the paper, without memory for its weights."""
    with torch.device("meta"):
        model = build_as_published(name)
    assert isinstance(model, Chain)
    return model


def gradient(model: nn.Module, name: str) -> Tensor:
    found = model.get_parameter(name).grad
    assert found is not None
    return found


def by_hand(row: str) -> int:
    """Twice the numbers of a plain layer for each highway layer: H and T."""
    inputs, total = (1 if row.startswith("mnist") else 3), 0
    for maps, kernels in STAGES[row]:
        for kernel in kernels:
            total += (inputs * maps * kernel**2 + maps) * (2 if inputs == maps else 1)
            inputs = maps
    if row.startswith("mnist"):
        return total + inputs * 3 * 3 * 10 + 10
    width = 250 if row == "cifar-1" else 100
    return total + inputs * width + width + width * 10 + 10


@pytest.mark.parametrize("row", PRINTED)
def test_depth_and_parameters(row: str) -> None:
    model = as_published(f"highway-{row}")
    layers, printed = PRINTED[row]
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == by_hand(row)
    unit = {"K": 1e3, "M": 1e6}[printed[-1]]
    digits = len(printed[:-1].partition(".")[2])
    assert f"{parameters / unit:.{digits}f}{printed[-1]}" == ("152K" if row == "mnist-32" else printed)
    assert int(parameters / 1e3) == 151 or row != "mnist-32"
    assert sum(name.startswith(("conv", "ip")) for name in model.order) == layers
    for figure in published(f"highway-{row}"):
        agrees = abs(parameters - figure.value) <= figure.tolerance  # type: ignore[operator]
        assert figure.ours == (None if agrees else parameters)


def test_all_rows_are_in_the_catalog() -> None:
    assert {name for name in names() if name.startswith("highway")} == {f"highway-{row}" for row in PRINTED}


@pytest.mark.parametrize("row", PRINTED)
def test_sizes_and_order(row: str) -> None:
    model = as_published(f"highway-{row}").eval()
    seen = model.features(torch.empty(2, *model.input_size, device="meta"))
    sides = (24, 12, 6) if row.startswith("mnist") else (32, 16, 8)
    layer = 0
    for number, ((maps, kernels), side) in enumerate(zip(STAGES[row], sides, strict=True), 1):
        for _ in kernels:
            layer += 1
            assert seen[f"conv{layer}"].shape == (2, maps, side, side)
        if number < 3:
            assert seen[f"pool{number}"].shape == (2, maps, side // 2, side // 2)
    order = [name for name in seen if not name.startswith("conv")]
    middle = ["ip1"] if row in {"cifar-1", "cifar-2", "cifar-3", "cifar-4"} else []
    assert order == ["drop1", "pool1", "drop2", "pool2", "drop3", "pool3", "drop4", *middle, "ip2", "logits"]


def test_plain_where_the_maps_change() -> None:
    """The released cifar-19: conv1, conv6, conv12 and the 1 x 1 conv18 are plain; for MNIST conv1 alone is."""
    for row, plain in {"cifar-19": ["conv1", "conv6", "conv12", "conv18"], "mnist-32": ["conv1"]}.items():
        model = as_published(f"highway-{row}")
        layers = {name: model.get_submodule(name) for name in model.order if name.startswith("conv")}
        assert [name for name, layer in layers.items() if not isinstance(layer, Highway)] == plain


def plain_forward(model: nn.Module, row: str, x: Tensor) -> Tensor:
    """The network once more in torch.nn.functional, from the parameters of ours."""
    weights, inputs = iter(list(model.parameters())), x.shape[1]
    mnist = row.startswith("mnist")
    for number, (maps, kernels) in enumerate(STAGES[row], 1):
        for kernel in kernels:
            pad = 0 if kernel == 5 else kernel // 2
            h = conv2d(x, next(weights), next(weights), padding=pad).relu()
            if inputs == maps:
                t = conv2d(x, next(weights), next(weights), padding=pad).sigmoid()
                h = h * t + x * (1 - t)  # equation 3
            x, inputs = h, maps
        if number < 3:
            x = max_pool2d(x, 3, 2, ceil_mode=True) if mnist else max_pool2d(x, 2)
    if mnist:
        x = max_pool2d(x, 2, ceil_mode=True).flatten(1)
    elif row == "cifar-19":
        x = conv2d(x, next(weights), next(weights)).relu().mean((2, 3))
    else:
        x = (x.amax((2, 3)) @ next(weights).T + next(weights)).relu()
    logits = x @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize("row", PRINTED)
def test_equal_to_plain_pytorch(row: str) -> None:
    torch.manual_seed(0)
    size, channels = ((28, 33), 1) if row.startswith("mnist") else ((13, 10), 2)
    model = network(f"highway-{row}", classes=7, channels=channels, size=size).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        x = torch.randn(3, channels, *size, dtype=torch.float64)
        torch.testing.assert_close(model(x), plain_forward(model, row, x))
        undropped = network(f"highway-{row}", classes=7, channels=channels, size=size, dropout=0.0).double().train()
        undropped.load_state_dict(model.state_dict())
        torch.testing.assert_close(undropped(x), plain_forward(model, row, x))


def test_gates_shut_carry_and_gates_open_transform() -> None:
    """Equation 4: y = x for T = 0 and H(x) for T = 1; shut gates carry what conv1 sees through 29 more layers."""
    model = network("highway-cifar-4", classes=3, channels=3).eval()
    gates = [m for m in model.modules() if isinstance(m, Highway)]
    assert len(gates) == 27
    layer = gates[0]
    x = torch.rand(2, 48, 5, 4)
    nn.init.constant_(layer.gate.get_parameter("bias"), 1e4)
    assert torch.equal(layer(x), layer.transform(x))
    for gate in gates:
        nn.init.constant_(gate.gate.get_parameter("bias"), -1e4)
    seen = model.features(torch.randn(2, 3, 8, 8))
    assert torch.equal(seen["conv10"], seen["conv1"])
    assert torch.equal(seen["conv20"], seen["conv11"])
    assert not torch.equal(seen["conv11"], seen["conv10"])


def test_the_first_layer_has_gradients_through_32() -> None:
    torch.manual_seed(0)
    model = network("highway-cifar-4", channels=3, dropout=0.0)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    first, last = (gradient(model, f"{n}.weight") for n in ("conv1.conv", "conv30.transform.conv"))
    assert 0.01 < (first.norm() / last.norm()).item() < 1000


@pytest.mark.parametrize(("row", "bias", "std"), [("cifar-19", -2.0, 0.05), ("mnist-32", -1.0, 0.1)])
def test_weights_start_as_in_the_papers(row: str, bias: float, std: float) -> None:
    torch.manual_seed(0)
    channels, size = (1, (28, 28)) if row.startswith("mnist") else (3, (32, 32))
    model = network(f"highway-{row}", classes=10, channels=channels, size=size)
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            expected = std if name == "ip2" else (2 / module.weight[0].numel()) ** 0.5
            relative = module.weight.std().item() / expected
            assert abs(relative - 1) < 5 / (2 * module.weight.numel()) ** 0.5, name
            assert module.bias is not None
            assert (module.bias == (bias if name.endswith("gate") else 0)).all(), name


def test_dropout() -> None:
    def rates(name: str, **options: Any) -> list[float]:
        with torch.device("meta"):
            return [m.p for m in build(name, **options).modules() if isinstance(m, nn.Dropout)]

    assert rates("highway-cifar-1") == rates("highway-cifar-19") == [0.2] * 4
    assert rates("highway-mnist-16") == rates("highway-mnist-32") == [0.2, 0.3, 0.4, 0.5]
    assert rates("highway-cifar-1", dropout=0.5) == [0.5] * 4
    assert rates("highway-mnist-16", dropout=0) == [0.0] * 4


def test_recomputing_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = network("highway-cifar-1", classes=3, channels=2)
    again = network("highway-cifar-1", classes=3, channels=2, recompute=True)
    again.load_state_dict(plain.state_dict())
    x = torch.randn(3, 2, 12, 10)
    for model in (plain, again):
        torch.manual_seed(1)  # dropout
        model(x).square().sum().backward()
    assert again.recompute == {f"conv{k}" for k in range(1, 10)}
    for name, _ in plain.named_parameters():
        assert torch.equal(gradient(plain, name), gradient(again, name)), name


@pytest.mark.parametrize(("row", "size"), [("cifar-1", (4, 4)), ("cifar-4", (5, 9)), ("cifar-19", (4, 11))])
def test_any_size_for_cifar(row: str, size: tuple[int, int]) -> None:
    model = network(f"highway-{row}", classes=4, channels=2).eval()
    assert model.input_size == (2, 32, 32)
    with torch.no_grad():
        assert model(torch.zeros(2, 2, *size)).shape == (2, 4)
        assert model(torch.zeros(0, 2, *size)).shape == (0, 4)
        with pytest.raises(InputError, match=f"highway-{row}: the input .* is not N x 2 x H x W of at least 4 x 4"):
            model(torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize("size", [(12, 12), (12, 40), (31, 29)])
def test_one_size_for_mnist(size: tuple[int, int]) -> None:
    model = network("highway-mnist-16", size=size).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 1, *size)).shape == (2, 10)
        assert model(torch.zeros(0, 1, *size)).shape == (0, 10)
        with pytest.raises(InputError, match=r"highway-mnist-16: the input .* is not N x 1 x"):
            model(torch.zeros(1, 1, size[0] + 1, size[1]))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("cifar-1", {"recompute": 0}, "highway-cifar-1: recompute must be true or false, got 0"),
        ("cifar-1", {"dropout": 1.0}, "highway-cifar-1: dropout must be at least 0 and below 1, got 1.0"),
        ("cifar-1", {"dropout": "x"}, "highway-cifar-1: dropout must be at least 0 and below 1, got 'x'"),
        ("cifar-4", {"size": (3, 9)}, "highway-cifar-4: takes images of at least 4 x 4, the data gives 3 x 9; "),
        ("mnist-16", {"size": (11, 28)}, "highway-mnist-16: takes images of at least 12 x 12, the data gives 11 x 28"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build(f"highway-{name}", **options)


def test_wrong_row() -> None:
    from striate.models.highway import highway

    with pytest.raises(InputError, match=re.escape("highway: the papers have the rows cifar-1, cifar-2, cifar-3, ")):
        highway("5")
