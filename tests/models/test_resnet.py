"""ResNet against table 1 of He et al. 2015: counts by hand, sizes, and the definition once more in plain PyTorch."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, names, published
from striate.models._chain import Chain
from striate.models.resnet import TABLE1, Residual, resnet
from striate.nn import Conv, MaxPool

# table 1, typed again: blocks of each stage; maps at the end of each stage are 64 to 512, or 4 times as many
BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}
BASIC = ("18", "34")
# what is commonly known of these networks with 1,000 classes
PARAMETERS = {"18": 11_689_512, "34": 21_797_672, "50": 25_557_032, "101": 44_549_160, "152": 60_192_808}


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


def by_hand(row: str, side: int = 224) -> tuple[int, int, int]:
    """Parameters, multiply-adds, and how many of these are projections, from table 1."""
    parameters, macs, projections = 64 * 3 * 49 + 2 * 64, 64 * 3 * 49 * (side // 2) ** 2, 0
    inputs, area = 64, (side // 4) ** 2
    for stage, blocks in enumerate(BLOCKS[row]):
        maps = 64 * 2**stage
        for block in range(blocks):
            area //= 4 if block == 0 and stage > 0 else 1
            if row in BASIC:
                kernels, outputs = [inputs * maps * 9, maps * maps * 9], maps
            else:
                kernels, outputs = [inputs * maps, maps * maps * 9, maps * 4 * maps], 4 * maps
            norms = 2 * maps if row in BASIC else 6 * maps
            if inputs != outputs:
                kernels.append(inputs * outputs)
                norms += outputs
                projections += inputs * outputs * area
            parameters += sum(kernels) + 2 * norms
            macs += sum(kernels) * area
            inputs = outputs
    return parameters + inputs * 1000 + 1000, macs + inputs * 1000, projections


def count_macs(model: nn.Module) -> int:
    """Multiply-adds of all convolutions and the dense layer, seen while one picture runs through."""
    total = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * math.prod(output.shape[2:])  # type: ignore[operator]

    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            module.register_forward_hook(add)
    model.eval()(torch.empty(1, *model.input_size, device="meta"))  # type: ignore[misc]
    return total


@pytest.mark.parametrize("row", BLOCKS)
def test_counts_and_the_papers_figures(row: str) -> None:
    """Depth and counts by hand; sizes as printed; multiply-adds within the rounding, or departing as the card says."""
    model = as_published(f"resnet-{row}").eval()
    parameters, macs, _ = by_hand(row)
    assert sum(p.numel() for p in model.parameters()) == parameters == PARAMETERS[row]
    weighted = [m for name, m in model.named_modules() if isinstance(m, Conv | nn.Linear) and "shortcut" not in name]
    assert len(weighted) == int(row)
    assert count_macs(model) == macs
    seen = model.features(torch.empty(1, 3, 224, 224, device="meta"))
    figures = published(f"resnet-{row}")
    assert [f.quantity for f in figures] == ["output_size"] * 5 + ["macs"]
    for figure in figures[:5]:
        assert tuple(seen[figure.layer].shape[1:]) == figure.value, figure.layer
    agrees = abs(macs - figures[5].value) <= figures[5].tolerance  # type: ignore[operator]
    assert figures[5].ours == (None if agrees else macs)


def test_why_the_multiply_adds_of_34_layers_differ() -> None:
    """Without the projections (option A) they round to the printed 3.6 x 10^9; those of 18 layers do in any case."""
    _, macs, projections = by_hand("34")
    assert round(macs / 1e9, 1) == 3.7
    assert round((macs - projections) / 1e9, 1) == 3.6
    _, macs, projections = by_hand("18")
    assert round(macs / 1e9, 1) == round((macs - projections) / 1e9, 1) == 1.8


def test_v1_and_v1_5_differ_in_the_place_of_the_stride_alone() -> None:
    for layers in (50, 101, 152):
        assert TABLE1[f"{layers}-v1.5"] == TABLE1[str(layers)]._replace(stride_in="3x3")
    v1, v15 = as_published("resnet-50"), as_published("resnet-50-v1.5")
    assert [p.shape for p in v1.parameters()] == [p.shape for p in v15.parameters()]
    for stage, (first, second) in {2: (1, 1), 3: (2, 1), 4: (2, 1), 5: (2, 1)}.items():
        for model, strides in ((v1, (first, second)), (v15, (second, first))):
            branch = model.get_submodule(f"conv{stage}_1.branch")
            assert [layer.stride for layer in branch.children() if isinstance(layer, Conv)] == [*strides, 1]
    assert count_macs(v15) == 4_089_184_256


class PlainBlock(nn.Module):
    """The block as libraries write it: convolutions of the given kernels and strides, batch norm, late ReLU."""

    def __init__(self, inputs: int, layers: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.layers, maps = nn.ModuleList(), inputs
        for out, kernel, stride in layers:
            self.layers += [nn.Conv2d(maps, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)]
            maps = out
        stride = math.prod(layer[2] for layer in layers)
        self.downsample: nn.Module | None = None
        if stride != 1 or maps != inputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for k in range(0, len(self.layers), 2):
            out = self.layers[k + 1](self.layers[k](out))
            if k + 2 < len(self.layers):
                out = torch.relu(out)
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def plain_resnet(row: str, classes: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    inputs, key = 64, row.removesuffix("-v1.5")
    for stage, blocks in enumerate(BLOCKS[key]):
        maps = 64 * 2**stage
        for block in range(blocks):
            s = 2 if stage and not block else 1
            if key in BASIC:
                layers.append(PlainBlock(inputs, [(maps, 3, s), (maps, 3, 1)]))
            elif row == key:
                layers.append(PlainBlock(inputs, [(maps, 1, s), (maps, 3, 1), (4 * maps, 1, 1)]))
            else:
                layers.append(PlainBlock(inputs, [(maps, 1, 1), (maps, 3, s), (4 * maps, 1, 1)]))
            inputs = maps if key in BASIC else 4 * maps
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def plain_twin(model: nn.Module, plain: nn.Module) -> nn.Module:
    """Give the plain network the weights of ours, in their order, in float64, with averages that matter."""
    for module in model.double().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    weights, targets = list(model.state_dict().values()), plain.double().state_dict()
    assert [w.shape for w in weights] == [t.shape for t in targets.values()]
    plain.load_state_dict(dict(zip(targets, weights, strict=True)))
    return plain


@pytest.mark.parametrize("row", ["18", "50", "50-v1.5"])
def test_equal_to_plain_pytorch(row: str) -> None:
    torch.manual_seed(0)
    model = network(f"resnet-{row}", classes=5, channels=2, size=(40, 56))
    plain = plain_twin(model, plain_resnet(row, 5, 2))
    x = torch.randn(2, 2, 40, 56, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model.train()(x), plain.train()(x))
        torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_blocks_without_residuals_pass_the_signal_exactly() -> None:
    """Equation 1 with F = 0: relu(x), which is x for what a block before has put out."""
    model = network("resnet-18", classes=3, size=(32, 40)).eval()
    for module in model.modules():
        if isinstance(module, Residual):
            nn.init.zeros_(module.branch.get_parameter("norm2.weight"))
    seen = model.features(torch.randn(2, 1, 32, 40))
    assert torch.equal(seen["conv2_2"], seen["pool1"])
    assert torch.equal(seen["conv3_2"], seen["conv3_1"])
    assert not torch.equal(seen["conv3_1"], seen["pool1"][:, :, ::2, ::2].repeat(1, 2, 1, 1))


def test_a_block_ends_in_relu_after_the_addition() -> None:
    block = Residual(nn.Identity(), nn.Identity())
    assert block(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 4.0]


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    model = network("resnet-50", classes=1000, channels=3)
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            fan_in = module.weight[0].numel()
            count = module.weight.numel()
            relative = module.weight.std().item() / math.sqrt(2 / fan_in)
            assert abs(relative - 1) < 5 / math.sqrt(2 * count), name
            assert abs(module.weight.mean().item()) < 5 * math.sqrt(2 / fan_in / count), name
        if isinstance(module, Conv):
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()  # the last one of a block too
            assert (module.bias == 0).all()
    assert (model.get_parameter("fc.bias") == 0).all()
    pool = model.get_submodule("pool1")
    assert isinstance(pool, MaxPool)
    assert (pool.kernel, pool.stride, pool.padding) == (3, 2, 1)


def test_recomputing_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = network("resnet-18", classes=3, size=(16, 24))
    again = network("resnet-18", classes=3, size=(16, 24), recompute=True)
    again.load_state_dict(plain.state_dict())
    x = torch.randn(4, 1, 40, 56)
    for model in (plain, again):
        model(x).square().sum().backward()
    assert len(again.recompute) == 8
    for name, _ in plain.named_parameters():
        assert torch.equal(gradient(plain, name), gradient(again, name)), name
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name)), name


def test_any_size() -> None:
    model = network("resnet-18", classes=3, channels=2).eval()
    assert model.input_size == (2, 224, 224)
    with torch.no_grad():
        for size in ((1, 1), (2, 9), (33, 47)):
            assert model(torch.zeros(2, 2, *size)).shape == (2, 3)
            assert model(torch.zeros(0, 2, *size)).shape == (0, 3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"recompute": 1}, "resnet-18: recompute must be true or false, got 1"),
        ({"size": (0, 5)}, "resnet-18: takes images of at least 1 x 1, the data gives 0 x 5; "),
        ({"zero": 1}, "model 'resnet-18' has no option 'zero'"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build("resnet-18", **options)


def test_wrong_input_and_row() -> None:
    with pytest.raises(InputError, match=re.escape("resnet: table 1 has the rows 18, 34, 50, 101, 152, 50-v1.5, ")):
        resnet("19")
    with torch.device("meta"):
        model = network("resnet-18")
    with pytest.raises(InputError, match=re.escape("resnet-18: the input (1, 3, 8, 8) is not N x 1 x H x W")):
        model(torch.empty(1, 3, 8, 8, device="meta"))


def test_all_rows_are_in_the_catalog() -> None:
    rows = {f"resnet-{row}" for row in BLOCKS} | {f"resnet-{layers}-v1.5" for layers in (50, 101, 152)}
    assert rows == {name for name in names() if re.fullmatch(r"resnet-\d+(-v1\.5)?", name)}
