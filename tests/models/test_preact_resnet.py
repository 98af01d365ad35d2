"""Pre-activation ResNet against He et al. 2016: table 4, figure 4(e), the appendix, and plain PyTorch."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, names, published
from striate.models._chain import Chain
from striate.models.preact_resnet import Unit
from striate.nn import Conv

ROWS = {"cifar-110": 110, "cifar-164": 164, "cifar-1001": 1001, "200": 200}


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


def by_hand(row: str) -> tuple[int, int]:
    """Weights (with the dense layer's biases), and scales and shifts of batch normalisation."""
    imagenet, basic = row == "200", row == "cifar-110"
    base, classes = (64, 1000) if imagenet else (16, 10)
    units = {"cifar-110": [18] * 3, "cifar-164": [18] * 3, "cifar-1001": [111] * 3, "200": [3, 24, 36, 3]}[row]
    weights, norms = 3 * base * (49 if imagenet else 9), base  # conv1 and its activation
    inputs = base
    for stage, count in enumerate(units):
        maps = base * 2**stage
        outputs = maps if basic else 4 * maps
        for unit in range(count):
            first = stage == unit == 0  # its activation is that of conv1
            norms += (0 if first else inputs) + (maps if basic else 2 * maps)
            weights += (
                inputs * maps * 9 + maps * maps * 9 if basic else inputs * maps + maps * maps * 9 + maps * outputs
            )
            weights += inputs * outputs if inputs != outputs and not basic else 0
            inputs = outputs
    return weights + inputs * classes + classes, 2 * (norms + inputs)


@pytest.mark.parametrize("row", ROWS)
def test_parameters(row: str) -> None:
    model = as_published(f"preact-resnet-{row}")
    normed = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert (total - normed, normed) == by_hand(row)
    weighted = [n for n, m in model.named_modules() if isinstance(m, Conv | nn.Linear) and "projection" not in n]
    assert len(weighted) == ROWS[row]
    for figure in published(f"preact-resnet-{row}"):
        agrees = abs(total - figure.value) <= figure.tolerance  # type: ignore[operator]
        assert figure.ours == (None if agrees else total)


def test_the_printed_parameters() -> None:
    """Table 4: 1.7M and 10.2M; the latter is what one gets without batch normalisation."""
    assert f"{sum(by_hand('cifar-164')) / 1e6:.1f}" == "1.7"
    assert f"{by_hand('cifar-1001')[0] / 1e6:.1f}" == "10.2"
    assert [len(published(f"preact-resnet-cifar-{k}")) for k in (110, 164, 1001)] == [0, 1, 1]


def test_all_rows_are_in_the_catalog() -> None:
    assert {name for name in names() if name.startswith("preact")} == {f"preact-resnet-{row}" for row in ROWS}


def test_the_sizes_of_200_layers() -> None:
    model = as_published("preact-resnet-200").eval()
    seen = model.features(torch.empty(1, 3, 224, 224, device="meta"))
    expected = {"conv1": (64, 112), "pool1": (64, 56), "conv2_3": (256, 56), "conv3_24": (512, 28)}
    expected |= {"conv4_36": (1024, 14), "conv5_3": (2048, 7), "activation": (2048, 7)}
    assert {name: tuple(seen[name].shape[1:]) for name in expected} == {n: (m, s, s) for n, (m, s) in expected.items()}
    assert list(seen)[-4:] == ["activation", "average_pool", "fc", "logits"]


def plain_forward(model: nn.Module, x: Tensor, units: list[int], *, basic: bool, imagenet: bool) -> Tensor:
    """The network as the authors' Torch code has it, from the parameters of ours, with the batch's statistics."""
    weights = iter(list(model.parameters()))

    def conv(x: Tensor, stride: int = 1) -> Tensor:
        w = next(weights)
        return nn.functional.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)

    def act(x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, next(weights), next(weights), training=True).relu()

    x = act(conv(x, 2 if imagenet else 1))
    if imagenet:
        x = nn.functional.max_pool2d(x, 3, 2, 1)
    base = x.shape[1]
    for stage, count in enumerate(units):
        outputs = base * 2**stage * (1 if basic else 4)
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            a = x if stage == unit == 0 else act(x)
            f = conv(act(conv(a, stride))) if basic else conv(act(conv(act(conv(a, stride)))))
            if basic and stride == 2:
                x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
            elif x.shape[1] != outputs:
                x = conv(a, stride)
            x = x + f
    logits = act(x).mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize(
    ("row", "units", "size"),
    [
        ("cifar-110", [18, 18, 18], (9, 12)),
        ("cifar-164", [18, 18, 18], (9, 12)),
        pytest.param("200", [3, 24, 36, 3], (40, 48), marks=pytest.mark.slow),
    ],
)
def test_equal_to_plain_pytorch(row: str, units: list[int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = network(f"preact-resnet-{row}", classes=7, channels=2, size=size).double().train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_(std=0.5)  # an activation in the wrong place must show
        x = torch.randn(4, 2, *size, dtype=torch.float64)
        expected = plain_forward(model, x, units, basic=row == "cifar-110", imagenet=row == "200")
        torch.testing.assert_close(model(x), expected, rtol=1e-6, atol=1e-6)


def test_nothing_comes_after_the_addition() -> None:
    """Equation 4: with F = 0 a unit is the identity, for negative values too."""
    unit = Unit("bottleneck", 8, 2, 1, activated=False).eval()
    nn.init.zeros_(unit.branch.get_parameter("conv3.weight"))
    x = torch.randn(2, 8, 5, 4)
    assert torch.equal(unit(x), x)


def test_the_signal_passes_110_layers_exactly() -> None:
    """Equation 3 with every F = 0: conv1's output arrives at the last unit; so does the gradient at conv1."""
    model = network("preact-resnet-cifar-110", classes=3, channels=3, size=(16, 12)).eval()
    for module in model.modules():
        if isinstance(module, Unit):
            nn.init.zeros_(module.branch.get_parameter("conv2.weight"))
    seen = model.features(torch.randn(2, 3, 16, 12))
    assert torch.equal(seen["conv4_18"][:, :16], seen["conv1"][:, :, ::4, ::4])
    assert (seen["conv4_18"][:, 16:] == 0).all()
    (gradient,) = torch.autograd.grad(seen["conv4_18"].sum(), seen["conv1"])
    expected = torch.zeros_like(gradient)
    expected[:, :, ::4, ::4] = 1
    assert torch.equal(gradient, expected)


def test_projections_are_with_pre_activation() -> None:
    """Appendix: the projection sees relu(norm(x)), so a negative constant shift of the norm silences the unit."""
    unit = Unit("bottleneck", 4, 2, 2, activated=False).eval()
    nn.init.constant_(unit.activation.get_parameter("norm.bias"), -100.0)
    assert (unit(torch.rand(1, 4, 6, 6)) == unit.branch(torch.zeros(1, 4, 6, 6))).all()


def test_110_layers_have_gradients_in_the_first() -> None:
    torch.manual_seed(0)
    model = network("preact-resnet-cifar-110", classes=10, channels=3, size=(16, 16))
    nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    first, last = (gradient(model, f"{n}.weight") for n in ("conv1.conv", "conv4_18.branch.conv2"))
    assert 0.01 < (first.norm() / last.norm()).item() < 1000


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    model = network("preact-resnet-cifar-164", classes=10, channels=3)
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            relative = module.weight.std().item() / (2 / module.weight[0].numel()) ** 0.5
            assert abs(relative - 1) < 5 / (2 * module.weight.numel()) ** 0.5, name
    assert (model.get_parameter("fc.bias") == 0).all()


def test_recomputing_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = network("preact-resnet-cifar-164", classes=3, channels=2)
    again = network("preact-resnet-cifar-164", classes=3, channels=2, recompute=True)
    again.load_state_dict(plain.state_dict())
    x = torch.randn(3, 2, 8, 6)
    for model in (plain, again):
        model(x).square().sum().backward()
    assert len(again.recompute) == 54
    for name, _ in plain.named_parameters():
        assert torch.equal(gradient(plain, name), gradient(again, name)), name
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name)), name


@pytest.mark.slow
def test_1001_layers_train_a_step() -> None:
    torch.manual_seed(0)
    model = network("preact-resnet-cifar-1001", channels=3, recompute=True)
    loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert gradient(model, "conv1.conv.weight").abs().max() > 0


@pytest.mark.parametrize(("row", "size"), [("cifar-110", (1, 1)), ("cifar-110", (7, 3)), ("cifar-164", (5, 9))])
def test_any_size(row: str, size: tuple[int, int]) -> None:
    model = network(f"preact-resnet-{row}", classes=4, channels=2).eval()
    assert model.input_size == (2, 32, 32)
    with torch.no_grad():
        assert model(torch.zeros(2, 2, *size)).shape == (2, 4)
        assert model(torch.zeros(0, 2, *size)).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"recompute": None}, "preact-resnet-cifar-110: recompute must be true or false, got None"),
        ({"size": (0, 3)}, "preact-resnet-cifar-110: takes images of at least 1 x 1, the data gives 0 x 3; "),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build("preact-resnet-cifar-110", **options)


def test_defaults_of_the_builder() -> None:
    from striate.models.preact_resnet import preact_resnet

    with torch.device("meta"):
        assert preact_resnet("cifar-110").get_parameter("fc.bias").shape == (10,)
        assert preact_resnet("200").get_parameter("fc.bias").shape == (1000,)
    with pytest.raises(InputError, match="preact-resnet: the paper has the rows cifar-110, cifar-164, cifar-1001, 200"):
        preact_resnet("cifar-20")
