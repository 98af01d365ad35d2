"""Receptive fields of modules, judged by impulses: which inputs really change an output.

Weights are positive and there are no biases, so nothing cancels: a unit depends on a row of the input exactly if ones
in that row change it. Where a field reaches into the padding, the true one may be smaller.
"""

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.insight import receptive_field, summarize
from striate.insight._fields import supports
from striate.insight._trace import trace
from striate.nn import AvgPool, Conv, ConvTranspose, DeformConv, MaxPool, MaxUnpool

SIZE = (40, 33)
MARGIN = 5  # a field this far from the ends of the input has met no border on its way


def positive(net: nn.Module) -> nn.Module:
    for name, parameter in net.named_parameters():
        nn.init.uniform_(parameter, 0.5, 1.5) if "bias" not in name else nn.init.zeros_(parameter)
    return net.eval().double()


def truth(net: nn.Module, size: tuple[int, ...], axis: int) -> list[list[int]]:
    """For each unit along an axis, the inputs along it that change the unit."""
    n = size[axis]
    stripes = torch.eye(n, dtype=torch.float64).view(n, 1, *(n if a == axis else 1 for a in range(len(size))))
    with torch.no_grad():
        still = net(torch.zeros(1, 1, *size, dtype=torch.float64))
        out = torch.cat([net(stripe.expand(1, 1, *size)) for stripe in stripes])
    changed = ((out - still).abs() > 1e-12).movedim(2 + axis, 1).flatten(2).any(2)
    return [changed[:, unit].nonzero().flatten().tolist() for unit in range(changed.shape[1])]


def told(net: nn.Module, size: tuple[int, ...], layer: str = "") -> tuple[Any, ...]:
    """Size, stride and whether they are exact."""
    return tuple(receptive_field(net, size, layer))


def check(net: nn.Module, size: tuple[int, ...] = SIZE, *, exact: bool = True, border: bool = True) -> int:
    """Fields contain the truth at every unit (or but for the `border`), and are it well inside; returns how often."""
    torch.manual_seed(0)
    positive(net)
    record = trace(net, [torch.zeros(1, 1, *size, dtype=torch.float64)])
    assert record.error is None
    support = supports(record)[record.outputs[0]]
    assert all(field.exact for field in support.fields) == exact
    met = 0
    for axis, field in enumerate(support.fields):
        exact = field.exact
        for unit, found in enumerate(truth(net, size, axis)):
            interval = field.interval(unit)
            inside = interval is not None and interval[0] >= MARGIN and interval[1] < size[axis] - MARGIN
            if not (found and interval):
                assert not found
                assert not (exact and inside)
            elif exact and inside:
                assert interval == (found[0], found[-1]), (axis, unit)
                met += 1
            elif border:
                assert interval[0] <= found[0] <= found[-1] <= interval[1], (axis, unit, interval, found)
    return met


class Add(nn.Module):
    """The sum or the concatenation of branches, cropped to the smallest of them."""

    def __init__(self, *branches: nn.Module, cat: bool = False) -> None:
        super().__init__()
        self.branches, self.cat = nn.ModuleList(branches), cat

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        least = [min(sizes) for sizes in zip(*(y.shape[2:] for y in outputs), strict=True)]
        outputs = [y[(..., *(slice(n) for n in least))] for y in outputs]
        return torch.cat(outputs, 1) if self.cat else torch.stack(outputs).sum(0)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x, *self.parts)
        return result


def layer(draw: random.Random, channels: int) -> nn.Module:
    k, s, d = draw.randint(1, 4), draw.randint(1, 2), draw.randint(1, 3)
    p = draw.randint(0, k // 2)
    words: dict[str, Any] = {"stride": s, "dilation": d, "bias": False}
    made = draw.choice(["conv", "striate", "asymmetric", "max", "average", "transposed", "branches", "linear"])
    if made == "conv":
        return nn.Conv1d(channels, channels, k, padding=p, **words)
    if made == "striate":
        return Conv(channels, channels, (k,), padding="same", upsample=draw.randint(1, 2), **words)
    if made == "asymmetric":
        pad = (draw.randint(0, 3), draw.randint(-1, 2))
        return nn.Sequential(nn.ConstantPad1d(pad, 0.0), Conv(channels, channels, (k,), padding=((0, 2),), **words))
    if made == "max":
        return draw.choice([nn.MaxPool1d(k, s, p, d, ceil_mode=True), MaxPool((k,), stride=s, padding=((p, p),))])
    if made == "average":
        return draw.choice([nn.AvgPool1d(k, s, p), AvgPool((k,), stride=s, padding=p)])
    if made == "transposed":
        plain = nn.ConvTranspose1d(channels, channels, k, stride=s, padding=p, dilation=d, bias=False)
        ours = ConvTranspose(channels, channels, (k,), stride=s, dilation=d, output_padding=s - 1, bias=False)
        return draw.choice([plain, ours])
    if made == "linear":
        return nn.Upsample(scale_factor=draw.choice([2, 1.5, 3]), mode=draw.choice(["linear", "nearest"]))
    inner = [nn.Conv1d(channels, channels, draw.randint(1, 4), stride=s, padding=draw.randint(0, 1)) for _ in "ab"]
    return Add(*inner)


@pytest.mark.parametrize("seed", range(50))
def test_random_networks(seed: int) -> None:
    draw = random.Random(seed)
    layers = [nn.Conv1d(1, 2, 1, bias=False), *(layer(draw, 2) for _ in range(draw.randint(1, 4)))]
    check(nn.Sequential(*layers), (90,))


def put(base: Tensor, x: Tensor) -> Tensor:
    base[:, :, 1:] = x[:, :, 1:]
    return base


CASES = {
    "even kernel": (nn.Conv2d(1, 2, (2, 4), stride=(2, 1)), True),
    "dilation with gaps": (nn.Conv2d(1, 2, 3, dilation=(4, 2)), True),
    "concatenation": (Add(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 3, 5, padding=2), cat=True), True),
    "unaligned branches": (Add(nn.Conv2d(1, 2, 1, stride=2), nn.Conv2d(1, 2, 1, stride=3)), False),
    "bilinear": (nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")), True),
    "to a size": (Call(lambda x: F.interpolate(x, size=(27, 50), mode="bilinear", align_corners=True)), True),
    "nearest, exact": (Call(lambda x: F.interpolate(x, size=(13, 70), mode="nearest-exact")), True),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), True),
    "uneven bins": (nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d((7, 9))), True),
    "uneven bins, maximum": (nn.AdaptiveMaxPool2d((7, 9)), True),
    "pixel shuffle": (nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.PixelShuffle(2), nn.Conv2d(1, 1, 2)), True),
    "pixel unshuffle": (nn.Sequential(nn.Conv2d(1, 1, (1, 2)), nn.PixelUnshuffle(2)), False),
    "slices": (Call(lambda x: x[:, :, 3:, :32:2] + x[:, :, :-3, 1::2]), True),
    "shift by view": (Call(lambda x: x.flatten(2).view(*x.shape).transpose(2, 3).transpose(3, 2)), True),
    "channels last": (Call(lambda x, c: c(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.Linear(1, 3)), True),
    "reflected border": (nn.Sequential(nn.ReflectionPad2d((1, 2, 0, 3)), nn.Conv2d(1, 1, 3)), True),
    "residual": (Call(lambda x, a: x + a(x).relu_(), nn.Conv2d(1, 1, 5, padding=2)), True),
    "split by a view": (Call(lambda x: x.view(x.shape[0], 1, 20, 2, 33).sum(3)), False),
    "written through a view": (Call(lambda x, a: put(torch.zeros_like(x), a(x)), nn.Conv2d(1, 1, 3, padding=1)), False),
    "zeros of its shape": (Call(lambda x, a: a(x) + torch.zeros_like(x), nn.Conv2d(1, 1, 3, padding=1)), True),
    "written in place": (Call(lambda x, a: x.clone().add_(a(x)), nn.Conv2d(1, 1, 3, padding=1)), True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_field_is_what_units_depend_on(case: str) -> None:
    net, exact = CASES[case]
    assert check(net, exact=exact, border=case != "reflected border") > 0 or not exact


def squeeze_and_excite(x: Tensor, before: nn.Module, gate: nn.Module) -> Tensor:
    y: Tensor = before(x)
    result: Tensor = y * gate(y.mean((2, 3), keepdim=True)).sigmoid()
    return result


def attend(x: Tensor, patch: nn.Module) -> Tensor:
    y = patch(x)
    tokens = y.flatten(2).transpose(1, 2)[:, None]
    mixed = F.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0]
    result: Tensor = mixed.transpose(1, 2).reshape(y.shape)
    return result


WHOLE = {
    "squeeze and excitation": (
        Call(squeeze_and_excite, nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 2, 1)),
        (2, 2),
    ),
    "attention": (Call(attend, nn.Conv2d(1, 2, (4, 3), stride=(4, 3))), (4, 3)),
    "group norm": (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GroupNorm(1, 2)), (1, 1)),
    "softmax over places": (
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), Call(lambda x: x.flatten(2).softmax(2))),
        (1, 1),
    ),
    "global average": (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1)), SIZE),
    "dense": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 38 * 31, 3)), ()),
    "mean over both": (Call(lambda x: x.mean((2, 3))), ()),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_sees_the_whole_input(case: str) -> None:
    net, stride = WHOLE[case]
    assert told(net, (1, *SIZE)) == (SIZE, stride, True)


BOUNDS = {
    "deformable": nn.Sequential(nn.Conv2d(1, 2, 3), DeformConv(2, 2, 3, stride=2)),
    "unpooling": Call(lambda x, p, u: u(*p(x), output_size=SIZE), MaxPool(2, return_switches=True), MaxUnpool(2)),
    "sorting": Call(lambda x: x.sort(2).values),
    "rolling": Call(lambda x: x.roll(3, 2)),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_what_depends_on_the_data_is_bounded_by_the_whole(case: str) -> None:
    size, stride, exact = told(BOUNDS[case], (1, *SIZE))
    assert (size, exact) == (SIZE, False)
    assert stride == ((2, 2) if case == "deformable" else (1, 1))


def test_a_bound_stays_a_bound() -> None:
    net = nn.Sequential(BOUNDS["sorting"], nn.Conv2d(1, 1, 3))
    assert not receptive_field(net, (1, *SIZE)).exact
    assert receptive_field(net, (1, *SIZE), "1").size == SIZE


def test_shuffled_channels_keep_their_places() -> None:
    net = Call(
        lambda x, a, b: b(a(x).view(1, 2, 3, *SIZE).transpose(1, 2).flatten(1, 2)),
        nn.Conv2d(1, 6, 3, padding=1),
        nn.Conv2d(6, 2, 3, padding=1, groups=2),
    )
    check(net)
    assert told(net, (1, *SIZE)) == ((5, 5), (1, 1), True)


def test_a_signal_and_a_volume_and_a_vector() -> None:
    assert told(nn.Conv1d(1, 1, 5, dilation=2), (1, 30)) == ((9,), (1,), True)
    assert told(nn.AvgPool3d((1, 2, 3)), (1, 4, 6, 9)) == ((1, 2, 3), (1, 2, 3), True)
    assert told(nn.Linear(4, 2), (4,)) == ((), (), True)


def test_rows_and_modules_tell_the_same() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), nn.ConvTranspose2d(2, 1, 4, stride=4))
    summary = summarize(net, (1, *SIZE))
    assert [row.receptive_field for row in summary.rows] == [(3, 3), (4, 4), (4, 4)]
    assert summary.receptive_field("0").size == (4, 4)
    assert [str(s) for s in summary.receptive_field().stride] == ["1/2", "1/2"]
