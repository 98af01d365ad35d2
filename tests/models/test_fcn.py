"""Fully convolutional networks: the paper's table, alignment, stages, and a copy of the released network."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published
from striate.models.fcn import FCN, fcn, from_vgg, next_stage

ROWS = ("32s", "16s", "8s")
NARROW: dict[str, Any] = {"width": 1 / 16, "classes": 5, "channels": 2}
# block -> its 3 x 3 convolutions
CONVS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}


def geometry(until: str) -> tuple[int, int, float]:
    """Receptive field, stride and centre of the first output of a layer, in pixels, by the usual recursion."""
    field, stride, centre = 1, 1, 0.0
    for block, convolutions in CONVS.items():
        for number in range(convolutions):
            field += 2 * stride
            centre += stride * (1 - (100 if (block, number) == (1, 0) else 1))
        field += stride
        centre += stride / 2
        stride *= 2
        if until == f"pool{block}":
            return field, stride, centre
    return field + 6 * stride, stride, centre + 3 * stride  # fc6; fc7 and score_fr are 1 x 1


def drawn(row: Any, **options: Any) -> FCN:
    """A narrow network with no weight at 0."""
    torch.manual_seed(0)
    model = fcn(row, **NARROW | options).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "score" in name:
                p.add_(torch.randn_like(p), alpha=0.1)
    return model


def test_receptive_field_and_stride_of_table_1() -> None:
    assert geometry("score_fr")[:2] == (404, 32)


@pytest.mark.parametrize(("row", "skips"), [("32s", []), ("16s", [512]), ("8s", [512, 256])])
def test_parameters_counted_by_hand(row: str, skips: list[int]) -> None:
    """VGG-16's convolutions, fc6 of 7 x 7 x 512, fc7, scores; each skip: a 4 x 4 layer between classes, a score."""
    maps = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in pairwise(maps))
    dense = 49 * 512 * 4096 + 4096 + 4096**2 + 4096 + 4096 * 21 + 21
    expected = convolutions + dense + sum(21 * 21 * 16 + deep * 21 + 21 for deep in skips)
    with torch.device("meta"):
        model = build_as_published(f"fcn-{row}")
    assert sum(p.numel() for p in model.parameters()) == expected
    assert abs(expected - 134e6) < 5e5


@pytest.mark.parametrize("row", ROWS)
def test_output_pixels_lie_on_the_input_pixels(row: Any) -> None:
    """Scores that tell where they are centred become, enlarged and added, the coordinates of the pixels."""
    model = drawn(row, width=1 / 64, classes=2).double()
    with torch.no_grad():
        for name, layer in model.named_children():
            if name in {"upscore2", "upscore_pool4"}:
                layer.load_state_dict(fcn(row, **NARROW | {"classes": 2}).get_submodule(name).state_dict())

    def tell(layer: str) -> Any:
        _, stride, centre = geometry(layer)

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            y, x = (centre + stride * torch.arange(n, dtype=torch.float64) for n in output.shape[2:])
            return torch.stack([y[:, None].expand(output.shape[2:]), x.expand(output.shape[2:])])[None]

        return hook

    scores = ["score_fr", "score_pool4", "score_pool3"][: ROWS.index(row) + 1]
    for score in scores:
        model.get_submodule(score).register_forward_hook(tell(score.removeprefix("score_")))
    logits = model(torch.zeros(1, 2, 150, 131, dtype=torch.float64)) / len(scores)
    inside = slice(48, 100)  # where no layer reads beyond its input
    expected = torch.arange(150, dtype=torch.float64)
    torch.testing.assert_close(logits[0, 0, inside, inside], expected[inside, None].expand(52, 52))
    torch.testing.assert_close(logits[0, 1, inside, inside], expected[inside].expand(52, 52))


def released(model: FCN, x: Tensor) -> Tensor:
    """The released networks, written out with PyTorch's functions."""
    w = dict(model.named_parameters())

    def conv(x: Tensor, name: str, padding: int = 0) -> Tensor:
        inner = f"{name}.conv" if f"{name}.conv.weight" in w else name
        return F.conv2d(x, w[f"{inner}.weight"], w[f"{inner}.bias"], padding=padding)

    height, width = x.shape[2:]
    pools = {}
    for block, convolutions in CONVS.items():
        for number in range(1, convolutions + 1):
            x = conv(x, f"conv{block}_{number}", 100 if block == number == 1 else 1).relu()
        x = pools[block] = F.max_pool2d(x, 2, 2, ceil_mode=True)
    x = conv(conv(conv(x, "fc6").relu(), "fc7").relu(), "score_fr")
    scale4, scale3 = (0.01, 0.0001) if model.at_once else (1.0, 1.0)
    factor, start = {"32s": (32, 19), "16s": (16, 27), "8s": (8, 31)}[model.row]
    if model.row != "32s":
        x = F.conv_transpose2d(x, w["upscore2.weight"], stride=2)
        x = x + conv(scale4 * pools[4], "score_pool4")[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    if model.row == "8s":
        x = F.conv_transpose2d(x, w["upscore_pool4.weight"], stride=2)
        x = x + conv(scale3 * pools[3], "score_pool3")[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    tent = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    kernel = (tent[:, None] * tent).expand(x.shape[1], 1, -1, -1)
    x = F.conv_transpose2d(x, kernel, stride=factor, groups=x.shape[1])
    return x[:, :, start : start + height, start : start + width]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("at_once", [False, True])
def test_equal_to_the_released_network(row: str, at_once: bool) -> None:
    model = drawn(row, at_once=at_once)
    x = torch.randn(2, 2, 37, 50)
    logits = model(x)
    torch.testing.assert_close(logits, released(model, x))
    seen = model.features(x)
    assert torch.equal(seen["logits"], logits)
    assert seen["fc7"].shape[1] == 256
    assert list(seen)[:3] == ["conv1_1", "conv1_2", "pool1"]


def test_layers_bear_the_released_names() -> None:
    with torch.device("meta"):
        seen = fcn("8s").features(torch.empty(1, 3, 500, 500))
    body = [f"conv{b}_{n}" for b, count in CONVS.items() for n in range(1, count + 1)]
    assert [name for name in seen if name.startswith("conv")] == body
    head = "fc6 fc7 score_fr upscore2 score_pool4 fuse_pool4 upscore_pool4 score_pool3 fuse_pool3 upscore8 logits"
    assert list(seen)[-11:] == head.split()
    assert [tuple(seen[n].shape[2:]) for n in ("pool5", "fc6", "upscore8", "logits")] == [
        (22, 22),
        (16, 16),
        (568, 568),
        (500, 500),
    ]


@pytest.mark.parametrize("size", [(1, 1), (31, 64), (97, 33)])
def test_any_size(size: tuple[int, int]) -> None:
    for row in ROWS:
        assert drawn(row)(torch.randn(1, 2, *size)).shape == (1, 5, *size)


def test_a_fresh_network_scores_0_everywhere() -> None:
    assert not fcn("8s", **NARROW)(torch.randn(1, 2, 9, 9)).any()


def test_only_the_last_enlargement_is_fixed() -> None:
    names = {name for name, _ in fcn("8s", **NARROW).named_parameters() if name.startswith("upscore")}
    assert names == {"upscore2.weight", "upscore_pool4.weight"}


def test_the_next_stage_begins_where_the_last_ended() -> None:
    """Equal weights, and scores of the old network enlarged: only where they bend do two steps differ from one."""
    coarse = drawn("32s")
    middle = next_stage(coarse)
    fine = next_stage(middle)
    assert (middle.row, fine.row, fine.training) == ("16s", "8s", False)
    x = torch.randn(1, 2, 70, 60)
    for stage in (middle, fine):
        for name, weight in coarse.state_dict().items():
            assert torch.equal(stage.state_dict()[name], weight)
    score = coarse.features(x)["score_fr"]
    bend = torch.cat([score.diff(n=2, dim=axis).abs().flatten() for axis in (2, 3)]).max()
    for stage in (middle, fine):
        assert (stage(x) - coarse(x)).abs().max() <= bend / 2
    constant = torch.full((1, 5, 4, 4), 3.0)
    torch.testing.assert_close(
        middle.get_submodule("upscore2")(constant)[:, :, 2:-2, 2:-2], torch.full((1, 5, 6, 6), 3.0)
    )
    with pytest.raises(InputError, match="next_stage: fcn-8s is the finest network; give FCN-32s or FCN-16s"):
        next_stage(fine)


def plain_vgg(maps: int = 4, hidden: int = 256, channels: int = 2) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = channels
    for block, convolutions in CONVS.items():
        for _ in range(convolutions):
            out = maps * min(2 ** (block - 1), 8)
            layers += [nn.Conv2d(inputs, out, 3, padding=1), nn.ReLU()]
            inputs = out
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(inputs * 49, hidden), nn.ReLU()]
    layers += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 7)]
    return nn.Sequential(*layers)


def test_a_dense_network_made_convolutional_computes_the_same() -> None:
    """Without the margin, a 224 x 224 picture gives one fc7: that of the dense layers (section 3.1)."""
    torch.manual_seed(0)
    vgg = plain_vgg()
    model = from_vgg(vgg, classes=3).eval()
    assert model.options["width"] == 1 / 16
    model.get_submodule("conv1_1.conv").padding = 1  # type: ignore[assignment]
    picture = torch.randn(1, 2, 224, 224)
    hidden = nn.Sequential(*map(model.get_submodule, model.order[:-1]))(picture)
    dense = nn.Sequential(*list(vgg)[:-1])(picture)
    assert hidden.shape == (1, 256, 1, 1)
    torch.testing.assert_close(hidden.flatten(1), dense)


def test_from_vgg_refuses_other_networks() -> None:
    with pytest.raises(InputError, match="from_vgg: a VGG-16 has 13 convolutions and 3 dense layers, got 1 and 0"):
        from_vgg(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(InputError, match=r"from_vgg: a layer of \(256, 32, 7, 7\) cannot take the weights"):
        from_vgg(plain_vgg(hidden=128))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "fcn-32s: width must be above 0 and at most 4 (1 is the paper's), got 0"),
        ({"dropout": 1}, "fcn-32s: dropout must be at least 0 and below 1, got 1"),
        ({"at_once": 1}, "fcn-32s: at_once must be true or false, got 1"),
        ({"recompute": "yes"}, "fcn-32s: recompute must be true or false, got 'yes'"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build("fcn-32s", **options)
    assert str(caught.value) == sentence
    with pytest.raises(InputError, match="is not N x 2 x H x W of at least 1 x 1"):
        fcn("32s", **NARROW)(torch.zeros(1, 3, 8, 8))


def test_recomputing_keeps_the_gradients() -> None:
    plain, again = drawn("16s", dropout=0.0), drawn("16s", dropout=0.0, recompute=True)
    x = torch.randn(2, 2, 12, 20)
    for model in (plain, again):
        model.train()(x).square().sum().backward()
    for a, b in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
