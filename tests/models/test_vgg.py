"""VGG: tables 1 and 2 of the paper, its initialisation, and dense layers applied as convolutions."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published
from striate.models.vgg import (
    FROM_A,
    TABLE1,
    VGG,
    convolutional_head,
    dense_as_conv,
    fully_convolutional,
    layers,
    start_from_a,
    vgg,
)
from striate.nn import Conv, LocalResponseNorm

# Table 1, second line, and figures counted by hand below; the exact totals that table 2 rounds to millions.
WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
}
TABLE2 = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}  # millions


def count_by_hand(row: str) -> int:
    """Parameters read off the words of table 1 alone."""
    maps, total = 3, 0
    for word in " ".join(TABLE1[row]).split():
        if word != "LRN":
            kernel, out = map(int, word[4:].split("-"))
            total, maps = total + out * (maps * kernel**2 + 1), out
    return total + 4096 * (512 * 7 * 7 + 1) + 4096 * (4096 + 1) + 1000 * (4096 + 1)


def tiny(row: str = "A", **options: object) -> VGG:
    """The smallest the paper's widths allow in this form: 32 x 32 images, three classes."""
    return vgg(row, classes=3, channels=2, size=(32, 32), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", list(TABLE1))
def test_parameters_are_those_of_table_2(row: str) -> None:
    with torch.device("meta"):
        model = build_as_published(f"vgg-{row.lower()}")
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == count_by_hand(row) == PARAMETERS[row]
    assert round(total / 1e6) == TABLE2[row]


@pytest.mark.parametrize("row", list(TABLE1))
def test_configurations_have_the_weight_layers_of_table_1(row: str) -> None:
    with torch.device("meta"):
        model = vgg(row)
    assert sum(isinstance(module, Conv | nn.Linear) for module in model.modules()) == WEIGHT_LAYERS[row]
    assert sum(isinstance(module, LocalResponseNorm) for module in model.modules()) == (row == "A-LRN")


def test_only_c_has_1_x_1_convolutions_and_each_ends_its_stage() -> None:
    for row in TABLE1:
        ones = [layer.name for stage in layers(row).values() for layer in stage if layer.kernel == 1]
        assert ones == (["conv3_3", "conv4_3", "conv5_3"] if row == "C" else [])


def test_sizes_are_those_of_table_1() -> None:
    with torch.device("meta"):
        seen = vgg("D").features(torch.empty(1, 3, 224, 224))
    expected = {"conv1_1": (64, 224), "conv1_2": (64, 224), "pool1": (64, 112), "conv2_2": (128, 112)}
    expected |= {"pool2": (128, 56), "conv3_3": (256, 56), "pool3": (256, 28), "conv4_3": (512, 28)}
    expected |= {"pool4": (512, 14), "conv5_3": (512, 14), "pool5": (512, 7)}
    for name, (maps, side) in expected.items():
        assert seen[name].shape == (1, maps, side, side), name
    assert list(seen)[-4:] == ["fc6", "fc7", "fc8", "logits"]
    assert [seen[name].shape[1] for name in ("fc6", "fc7", "fc8")] == [4096, 4096, 1000]


def test_multiplications_of_d_from_the_sizes_of_its_layers() -> None:
    total = 512 * 49 * 4096 + 4096 * 4096 + 4096 * 1000
    for side, stage in zip((224, 112, 56, 28, 14), layers("D").values(), strict=True):
        total += sum(side**2 * layer.in_maps * layer.maps * layer.kernel**2 for layer in stage)
    assert total == 15_470_264_320


def plain_features(words: str) -> list[nn.Module]:
    """The layers of a column of table 1 in plain PyTorch, M for a pooling."""
    maps, plain = 2, list[nn.Module]()
    for word in words.split():
        if word == "M":
            plain.append(nn.MaxPool2d(2, 2))
        elif word == "LRN":  # torch divides alpha by the size, the paper does not
            plain.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        else:
            kernel, out = (1 if word.startswith("1x1:") else 3), int(word.removeprefix("1x1:"))
            plain += [nn.Conv2d(maps, out, kernel, padding=kernel // 2), nn.ReLU()]
            maps = out
    return plain


PLAIN = {
    "A-LRN": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 1x1:256 M 512 512 1x1:512 M 512 512 1x1:512 M",
}


@pytest.mark.parametrize("row", list(PLAIN))
def test_the_network_is_the_one_written_by_hand(row: str) -> None:
    model = tiny(row).eval()
    dense = [nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    plain = nn.Sequential(*plain_features(PLAIN[row]), nn.Flatten(), *dense, nn.Linear(4096, 3)).eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = 30 * torch.randn(2, 2, 32, 32)
    torch.testing.assert_close(model(x), plain(x))
    assert plain(x).std() > 1e-3


def test_dense_layers_take_any_built_size() -> None:
    with torch.device("meta"):
        model = vgg("A", size=(96, 130), channels=1, classes=7)
        assert model(torch.empty(2, 1, 96, 130)).shape == (2, 7)
        assert model.get_submodule("fc6.linear").in_features == 512 * 3 * 4
        with pytest.raises(InputError, match=re.escape("vgg-a: the input (1, 1, 96, 96) is not N x 1 x 96 x 130")):
            model(torch.empty(1, 1, 96, 96))


def test_glorot_and_normal_initialisation() -> None:
    torch.manual_seed(0)
    glorot, normal = tiny(), tiny(init="normal")
    for model in (glorot, normal):
        assert all(not bias.any() for name, bias in model.named_parameters() if name.endswith("bias"))
    weight = glorot.get_parameter("conv5.conv5_2.conv.weight")
    assert float(weight.detach().abs().max()) == pytest.approx((6 / (2 * 512 * 9)) ** 0.5, rel=1e-3)
    for name in ("conv5.conv5_2.conv.weight", "fc7.linear.weight", "fc8.weight"):
        assert float(normal.get_parameter(name).detach().std()) == pytest.approx(0.01, rel=0.02), name


def test_a_deeper_configuration_starts_from_a() -> None:
    deep, a = tiny("B"), tiny("A", init="normal")
    before = {name: value.clone() for name, value in deep.state_dict().items()}
    start_from_a(deep, a)
    for name, value in deep.state_dict().items():
        copied = name.startswith(FROM_A)
        assert torch.equal(value, a.state_dict()[name] if copied else before[name]), name
    assert sum(name.startswith("conv") for name in FROM_A) == 4
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"fc6 is \(.*\) in vgg-b and \(.*\) in vgg-a; build both"),
    ):
        start_from_a(vgg("B", size=(64, 64)), vgg("A", size=(32, 32)))


def test_dense_layer_as_convolution_is_the_dense_layer_at_every_position() -> None:
    linear = nn.Linear(3 * 2 * 4, 5, dtype=torch.float64)
    conv = dense_as_conv(linear, 2, 4)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    scores = conv(x)
    assert scores.shape == (2, 5, 3, 3)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(scores[:, :, i, j], linear(x[:, :, i : i + 2, j : j + 4].flatten(1)))


def test_fully_convolutional_network_averages_the_scores_of_all_positions() -> None:
    torch.manual_seed(0)
    model = vgg("A", classes=3, channels=2, size=(32, 64)).eval()
    chain = fully_convolutional(model)
    assert not chain.training
    small = 30 * torch.randn(2, 2, 32, 64)
    torch.testing.assert_close(chain(small), model(small))
    large = 30 * torch.randn(1, 2, 64, 96)
    scores = chain.features(large)["fc8"]
    assert scores.shape == (1, 3, 2, 2)
    maps = chain.features(large)["pool5"]
    corner = maps[:, :, 1:, 1:]  # the window of the last position
    by_hand = nn.Sequential(*(model.get_submodule(name) for name in ("fc6", "fc7", "fc8")))(corner)
    torch.testing.assert_close(scores[:, :, 1, 1], by_hand)
    torch.testing.assert_close(chain(large), scores.mean((2, 3)))
    with pytest.raises(InputError, match=r"vgg-a, fully convolutional: the input .* at least 32 x 64"):
        chain(torch.zeros(1, 2, 32, 32))
    assert set(convolutional_head(model)) == {"fc6", "fc7", "fc8"}


def test_recomputing_gives_the_same_gradients_and_keeps_less() -> None:
    plain = tiny("B", dropout=0.0)
    again = tiny("B", dropout=0.0, recompute=True)
    again.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 32, 32)
    kept = []
    for model in (plain, again):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(_noting(sizes), lambda t: t):
            loss = model(x).square().sum()
        loss.backward()
        kept.append(sum(sizes))
    assert kept[1] < 0.7 * kept[0]
    for (name, a), b in zip(plain.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b[1].grad, msg=name)


def _noting(sizes: list[int]) -> Callable[[Tensor], Tensor]:
    def pack(t: Tensor) -> Tensor:
        if t.ndim == 4 and t.shape[0] == 2:  # activations, not weights
            sizes.append(t.numel())
        return t

    return pack


def test_dropout_is_in_the_first_two_dense_layers() -> None:
    with torch.device("meta"):
        model = vgg("A", dropout=0.25)
    found = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert found == {"fc6.dropout": 0.25, "fc7.dropout": 0.25}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "vgg-d: dropout must be at least 0 and below 1, got 1.0"),
        ({"recompute": 1}, "vgg-d: recompute must be true or false, got 1"),
        ({"init": "he"}, "vgg-d: init must be 'glorot' or 'normal', got 'he'"),
        ({"size": (31, 224)}, "vgg-d: takes images of at least 32 x 32, the data gives 31 x 224"),
    ],
)
def test_unfit_options_are_refused(options: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=re.escape(message)):
        build("vgg-d", channels=3, **options)  # type: ignore[arg-type]


def test_an_unknown_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="table 1 has the configurations A, A-LRN, B, C, D, E, got 'F'"):
        vgg("F")
