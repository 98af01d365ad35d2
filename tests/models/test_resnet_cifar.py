"""ResNet for CIFAR-10 against section 4.2 and table 6 of He et al. 2015."""

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, names, published
from striate.models._chain import Chain
from striate.models.resnet import Residual
from striate.models.resnet_cifar import PaddedShortcut
from striate.nn import Conv

# table 6: layers and millions of parameters as printed
TABLE6 = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7", 1202: "19.4"}


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


def by_hand(layers: int) -> int:
    """6n + 2 layers with 16, 32 and 64 maps; weights of 3 x 3 convolutions, two numbers per map of batch norm."""
    n = (layers - 2) // 6
    maps = [3, 16] + [16] * 2 * n + [32] * 2 * n + [64] * 2 * n
    convolutions = sum(a * b * 9 + 2 * b for a, b in pairwise(maps))
    return convolutions + 64 * 10 + 10


@pytest.mark.parametrize("layers", TABLE6)
def test_parameters_and_sizes(layers: int) -> None:
    model = as_published(f"resnet-cifar-{layers}")
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == by_hand(layers)
    digits = len(TABLE6[layers].partition(".")[2])
    assert f"{parameters / 1e6:.{digits}f}" == TABLE6[layers]
    assert sum(isinstance(m, Conv | nn.Linear) for m in model.modules()) == layers
    if layers < 1202:  # whose sizes take too long for here
        the_sizes(model, layers)


def the_sizes(model: Chain, layers: int) -> None:
    parameters = sum(p.numel() for p in model.parameters())
    seen = model.eval().features(torch.empty(1, 3, 32, 32, device="meta"))
    for figure in published(f"resnet-cifar-{layers}"):
        if figure.quantity == "parameters":
            assert abs(parameters - figure.value) <= figure.tolerance  # type: ignore[operator]
        else:
            assert tuple(seen[figure.layer].shape[1:]) == figure.value
    assert len(published(f"resnet-cifar-{layers}")) == 4
    n = (layers - 2) // 6
    assert f"conv4_{n}" in seen
    assert f"conv4_{n + 1}" not in seen


def test_all_rows_are_in_the_catalog() -> None:
    assert {name for name in names() if name.startswith("resnet-cifar")} == {f"resnet-cifar-{k}" for k in TABLE6}


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 1)])
def test_option_a_by_its_definition(size: tuple[int, int]) -> None:
    """Every second position of every map, then maps of zeros; as large as a 3 x 3 convolution of stride 2 makes it."""
    x = torch.randn(2, 3, *size)
    found = PaddedShortcut(2)(x)
    expected = torch.zeros(2, 5, (size[0] + 1) // 2, (size[1] + 1) // 2)
    for row in range(expected.shape[2]):
        for column in range(expected.shape[3]):
            expected[:, :3, row, column] = x[:, :, 2 * row, 2 * column]
    assert torch.equal(found, expected)
    assert found.shape[2:] == nn.functional.conv2d(x, torch.zeros(1, 3, 3, 3), stride=2, padding=1).shape[2:]
    assert not list(PaddedShortcut(2).parameters())
    assert repr(PaddedShortcut(2)) == "PaddedShortcut(extra=2, stride=2)"


def plain_forward(model: nn.Module, x: Tensor, n: int) -> Tensor:
    """The network once more in torch.nn.functional, from the parameters of ours, with the batch's statistics."""
    weights = iter(list(model.parameters()))

    def conv_norm(x: Tensor, stride: int = 1) -> Tensor:
        x = nn.functional.conv2d(x, next(weights), stride=stride, padding=1)
        return nn.functional.batch_norm(x, None, None, next(weights), next(weights), training=True)

    x = conv_norm(x).relu()
    for stage in range(3):
        for block in range(n):
            stride = 2 if stage and not block else 1
            f = conv_norm(conv_norm(x, stride).relu())
            if stride == 2:
                x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
            x = (x + f).relu()
    logits = x.mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize(("layers", "size"), [(20, (32, 32)), (32, (9, 14))])
def test_equal_to_plain_pytorch(layers: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = network(f"resnet-cifar-{layers}", classes=7, channels=2, size=size).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        x = torch.randn(5, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(model.train()(x), plain_forward(model, x, (layers - 2) // 6))


def test_the_identity_path_is_exact_through_110_layers() -> None:
    """With every residual branch at zero, what conv1 puts out arrives at the end: every fourth pixel, then zeros."""
    model = network("resnet-cifar-110", classes=3, channels=3, size=(16, 12)).eval()
    for module in model.modules():
        if isinstance(module, Residual):
            nn.init.zeros_(module.branch.get_parameter("norm2.weight"))
    with torch.no_grad():
        seen = model.features(torch.randn(2, 3, 16, 12))
    assert torch.equal(seen["conv2_18"], seen["conv1"])
    assert torch.equal(seen["conv4_18"][:, :16], seen["conv1"][:, :, ::4, ::4])
    assert (seen["conv4_18"][:, 16:] == 0).all()
    assert seen["conv1"].abs().max() > 0


def test_110_layers_have_gradients_in_the_first() -> None:
    """In float32 they are there, of the size of the last layer's, and those of float64."""
    torch.manual_seed(0)
    model = network("resnet-cifar-110", classes=10, channels=3, size=(16, 16))
    x, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
    nn.functional.cross_entropy(model(x), labels).backward()  # type: ignore[no-untyped-call]
    first = gradient(model, "conv1.conv.weight")
    last = gradient(model, "conv4_18.branch.conv2.weight")
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    assert 0.01 < (first.norm() / last.norm()).item() < 1000
    model.double().zero_grad()
    nn.functional.cross_entropy(model(x.double()), labels).backward()  # type: ignore[no-untyped-call]
    exact = gradient(model, "conv1.conv.weight")
    assert (first - exact).norm() < 1e-2 * exact.norm()


def test_recomputing_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = network("resnet-cifar-20", classes=3, channels=2)
    again = network("resnet-cifar-20", classes=3, channels=2, recompute=True)
    again.load_state_dict(plain.state_dict())
    x = torch.randn(3, 2, 12, 10)
    for model in (plain, again):
        model(x).square().sum().backward()
    assert len(again.recompute) == 9
    for name, _ in plain.named_parameters():
        assert torch.equal(gradient(plain, name), gradient(again, name)), name


@pytest.mark.slow
def test_the_sizes_of_1202_layers() -> None:
    the_sizes(as_published("resnet-cifar-1202"), 1202)


@pytest.mark.slow
def test_1202_layers_train_a_step() -> None:
    torch.manual_seed(0)
    model = network("resnet-cifar-1202", channels=3, recompute=True)
    loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert gradient(model, "conv1.conv.weight").abs().max() > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (33, 31)])
def test_any_size(size: tuple[int, int]) -> None:
    model = network("resnet-cifar-20", classes=4, channels=2).eval()
    assert model.input_size == (2, 32, 32)
    with torch.no_grad():
        assert model(torch.zeros(2, 2, *size)).shape == (2, 4)
        assert model(torch.zeros(0, 2, *size)).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"recompute": "yes"}, "resnet-cifar-20: recompute must be true or false, got 'yes'"),
        ({"size": (4, 0)}, "resnet-cifar-20: takes images of at least 1 x 1, the data gives 4 x 0; "),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build("resnet-cifar-20", **options)


def test_wrong_row() -> None:
    from striate.models.resnet_cifar import resnet_cifar

    with pytest.raises(
        InputError, match=re.escape("resnet-cifar: table 6 has the rows 20, 32, 44, 56, 110, 1202, got")
    ):
        resnet_cifar("18")
