"""Dilated convolutions: table 1, the identity at the start, mirrored borders, a copy in plain PyTorch, alignment."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published
from striate.models.context import Dilated, context_module, mirrored
from striate.nn import Conv

NAMES = ("dilated-frontend", "dilated-context-basic", "dilated-context-large")
NARROW: dict[str, Any] = {"width": 1 / 32, "classes": 3, "channels": 2}
# table 1: dilation and receptive field of each layer, maps of the large module as multiples of C
DILATIONS, FIELDS = [1, 1, 2, 4, 8, 16, 1, 1], [3, 5, 9, 17, 33, 65, 67, 67]
LARGE = [2, 2, 4, 8, 16, 32, 32, 1]
COUNTS = [2, 2, 3, 3, 3]


def narrow(name: str, **options: Any) -> Dilated:
    torch.manual_seed(0)
    model = build(name, **NARROW | options).eval()
    assert isinstance(model, Dilated)
    return model


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_as_published(name).parameters())


def test_parameters_counted_by_hand() -> None:
    maps = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    front = sum(9 * a * b + b for a, b in pairwise(maps))
    front += 49 * 512 * 4096 + 4096 + 4096**2 + 4096 + 4096 * 21 + 21
    assert parameters(NAMES[0]) == front
    # "the number of parameters of the basic module is about 64 C^2" (section 3), and a bias per map
    assert parameters(NAMES[1]) - front == 64 * 21**2 + 8 * 21
    wide = [21 * multiple for multiple in (1, *LARGE)]
    large = sum((9 if b != wide[-1] else 1) * a * b + b for a, b in pairwise(wide))
    assert parameters(NAMES[2]) - front == large


@pytest.mark.parametrize("layers", range(1, 9))
def test_receptive_fields_of_table_1(layers: int) -> None:
    """Gradients of one output reach exactly so many inputs, and all of them."""
    module = context_module("basic", 2)
    parts = list(module.values())[:layers]
    for part in parts:
        inner = part if not isinstance(part, nn.Sequential) else part[0]
        nn.init.ones_(inner.weight)  # type: ignore[arg-type]
    x = torch.ones(1, 2, 80, 80, requires_grad=True)
    y = nn.Sequential(*parts)(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    assert x.grad is not None
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert len(rows) == FIELDS[layers - 1] == int(rows[-1] - rows[0]) + 1


def test_dilations_of_table_1() -> None:
    kernels = [3] * 7 + [1]
    for row in ("basic", "large"):
        layers = [m for part in context_module(row, 2).values() for m in part.modules() if isinstance(m, Conv)]
        assert [m.dilation for m in layers] == DILATIONS
        assert [m.kernel for m in layers] == [(k, k) for k in kernels]
        assert [len(m.weight) for m in layers] == [2 * (m if row == "large" else 1) for m in LARGE]


@pytest.mark.parametrize(("row", "noise"), [("basic", 1.0), ("large", 0.0)])
def test_a_fresh_context_module_is_the_identity(row: Any, noise: float) -> None:
    """Equations 4 and 5: scores of 0 and more pass, up to rounding; the basic module takes no noise."""
    context = nn.Sequential(*context_module(row, 3, noise=noise).values()).double()
    x = torch.rand(2, 3, 9, 14, dtype=torch.float64)
    torch.testing.assert_close(context(x), x, rtol=0, atol=1e-14)
    assert torch.equal(context(-x), torch.zeros_like(x))  # max(., 0) of the first layer


def test_noise_breaks_the_ties_of_the_large_module_only_a_little() -> None:
    torch.manual_seed(0)
    layers = context_module("large", 3)
    x = torch.rand(1, 3, 12, 12)
    y = nn.Sequential(*layers.values())(x)
    assert 0 < (y - x).abs().mean() < 0.1 * x.mean()
    weight = layers["ct_conv1_1"].get_submodule("conv").weight
    assert not torch.equal(weight[0], weight[1])  # type: ignore[index]


def test_weights_of_equation_5() -> None:
    """C / c of the maps after the layer: 1/2 for 2 C of them, and 1 for the C of the last layer."""
    layers = context_module("large", 2, noise=0.0)
    first, last = layers["ct_conv1_1"].get_submodule("conv").weight, layers["ct_final"].weight
    assert isinstance(first, Tensor)
    assert isinstance(last, Tensor)
    assert first[:, :, 1, 1].tolist() == [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]
    assert first.sum() == 2.0
    assert last.flatten(1).tolist() == [[1.0] * 32 + [0.0] * 32, [0.0] * 32 + [1.0] * 32]


def test_truncation_of_table_1() -> None:
    """Every layer but the last cuts off what is below 0."""
    for part in context_module("basic", 2).values():
        conv = part if isinstance(part, Conv) else part.get_submodule("conv")
        nn.init.constant_(conv.bias, -9.0)  # type: ignore[arg-type]
        y = part(torch.rand(1, 2, 40, 40))
        assert (y < 0).any() == (part is conv)


def test_context_after_the_front_end_changes_nothing_at_first() -> None:
    """But for the scores below 0, which the truncation takes away."""
    front, both = narrow(NAMES[0]), narrow(NAMES[1])
    assert both.context_parts == tuple(context_module("basic", 3))
    both.load_state_dict(front.state_dict(), strict=False)
    x = torch.randn(1, 2, 30, 21)
    torch.testing.assert_close(both.features(x)["ct_final"], front.features(x)["final"].relu())


def plain(model: Dilated, x: Tensor) -> Tensor:
    """The network in PyTorch's functions, for pictures larger than the margin and sides that 8 divides."""
    w = dict(model.named_parameters())

    def conv(x: Tensor, name: str, dilation: int = 1, padding: int = 0) -> Tensor:
        inner = f"{name}.conv" if f"{name}.conv.weight" in w else name
        return F.conv2d(x, w[f"{inner}.weight"], w[f"{inner}.bias"], padding=padding, dilation=dilation)

    x = F.pad(x, (186, 186, 186, 186), mode="reflect")
    for block, count in enumerate(COUNTS, 1):
        for number in range(1, count + 1):
            x = conv(x, f"conv{block}_{number}", 2 if block == 5 else 1).relu()
        x = F.max_pool2d(x, 2) if block <= 3 else x
    x = conv(conv(conv(x, "fc6", 4).relu(), "fc7").relu(), "final")
    for number, name in enumerate(model.context_parts):
        x = conv(x, name, DILATIONS[number], 33 if number == 0 else 0)
        x = x.relu() if number < 7 else x
    return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_plain_pytorch(name: str) -> None:
    """Away from the border, where enlarging by a transposed convolution fades out, it is the usual interpolation."""
    model = narrow(name)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.01)
    x = torch.randn(1, 2, 200, 192)
    logits = model(x)
    assert logits.shape == (1, 3, 200, 192)
    torch.testing.assert_close(logits[:, :, 4:-4, 4:-4], plain(model, x)[:, :, 4:-4, 4:-4], rtol=1e-4, atol=1e-5)


def test_the_released_sizes() -> None:
    """A 900 x 900 input, margins included, gives 66 x 66 scores; 528 = 900 - 2 x 186 is 66 x 8."""
    with torch.device("meta"):
        seen = build_as_published(NAMES[2]).features(torch.empty(1, 3, 528, 528))  # type: ignore[operator]
    assert seen["conv1_1"].shape[2:] == (898, 898)
    assert [seen[n].shape[1:] for n in ("final", "ct_conv5_1", "ct_final")] == [
        (21, 66, 66),
        (672, 68, 68),
        (21, 66, 66),
    ]
    assert seen["logits"].shape == (1, 21, 528, 528)


def test_scores_are_centred_in_their_8_pixels() -> None:
    """A symmetric front end and a symmetric picture of 8 k pixels: symmetric scores, so the margins are right."""
    model = narrow(NAMES[0]).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 4:
                p.copy_(p + p.flip(2) + p.flip(3) + p.flip(2, 3))
    x = torch.randn(1, 2, 24, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x).flip(2), model(x.flip(2)))
    torch.testing.assert_close(model(x).flip(3), model(x.flip(3)))


@pytest.mark.parametrize(("n", "low", "high"), [(5, 3, 4), (5, 0, 0), (200, 186, 190)])
def test_mirroring_is_reflection(n: int, low: int, high: int) -> None:
    x = torch.arange(float(n))[None, None]
    assert torch.equal(x[..., mirrored(n, low, high)], F.pad(x, (low, high), mode="reflect"))


def test_mirroring_goes_on_where_pictures_are_small() -> None:
    assert mirrored(3, 4, 4).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    assert mirrored(2, 3, 2).tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert mirrored(1, 2, 2).tolist() == [0] * 5


@pytest.mark.parametrize("size", [(1, 1), (9, 16)])
def test_any_size(size: tuple[int, int]) -> None:
    for name in NAMES:
        assert narrow(name)(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="dilated-frontend: dropout must be at least 0 and below 1, got 2"):
        build("dilated-frontend", dropout=2)
    with pytest.raises(InputError, match="dilated-context-basic: width must be above 0 and at most 4"):
        build("dilated-context-basic", width=True)
    with pytest.raises(InputError, match=r"dilated-context-large: the input .* is not N x 2 x H x W"):
        narrow("dilated-context-large")(torch.zeros(1, 3, 8, 8))
