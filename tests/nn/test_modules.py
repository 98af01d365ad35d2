"""The modules: their parameters, defaults, descriptions and errors; the mathematics is tested with the operators."""

import copy
import math

import pytest
import torch
from torch.testing import assert_close

from striate import nn, ops
from striate.errors import InputError

LINKS = [[1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_conv_is_the_operator_with_parameters():
    layer = nn.Conv(4, 6, (3, 2), stride=(2, 1), padding="same", dilation=(1, 2), groups=2, flip=True)
    x = torch.randn(2, 4, 9, 8)
    words = {"stride": (2, 1), "padding": "same", "dilation": (1, 2), "groups": 2, "flip": True}
    assert_close(layer(x), ops.conv(x, layer.weight, layer.bias, **words))


@pytest.mark.parametrize(("kernel", "size"), [((3,), (9,)), (3, (9, 8)), ((3, 2), (9, 8)), ((1, 2, 3), (4, 4, 4))])
def test_conv_in_any_rank(kernel, size):
    layer = nn.Conv(2, 5, kernel, upsample=2)
    assert layer(torch.randn(1, 2, *size)).shape[:2] == (1, 5)
    assert count(layer) == 5 * 2 * math.prod(layer.kernel) + 5
    assert count(nn.Conv(2, 5, kernel, bias=False)) == 5 * 2 * math.prod(layer.kernel)


@pytest.mark.parametrize("table", [LINKS, torch.tensor(LINKS), torch.tensor(LINKS).bool().numpy()])
def test_links_store_their_kernels_alone(table):
    """K m n + P parameters, equation (5.37)."""
    layer = nn.Conv(3, 4, (5, 2), links=table)
    assert count(layer) == 8 * 5 * 2 + 4
    assert layer.links.tolist() == torch.tensor(LINKS).bool().tolist()
    x = torch.randn(2, 3, 7, 6)
    assert_close(layer(x), ops.conv(x, layer.weight, layer.bias, links=LINKS))
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert_close(copy.deepcopy(layer)(x), layer(x))


def test_conv_starts_like_pytorch():
    torch.manual_seed(0)
    ours = nn.Conv(4, 6, 3, groups=2)
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(4, 6, 3, groups=2)
    assert_close(ours.weight, theirs.weight)
    assert_close(ours.bias, theirs.bias)


def test_linked_maps_start_with_their_own_fan_in():
    torch.manual_seed(0)
    table = torch.zeros(2, 100)
    table[0, :4], table[1, :] = 1, 1
    weight = nn.Conv(100, 2, 5, links=table).weight.detach()
    for kernels, fan_in in ((weight[:4], 4 * 25), (weight[4:], 100 * 25)):
        assert 0.9 * fan_in**-0.5 < kernels.abs().max() <= fan_in**-0.5


def test_conv_is_made_on_the_asked_device_and_in_the_default_dtype():
    with torch.device("meta"):
        layer = nn.Conv(3, 4, 3, links=LINKS)
    assert layer.weight.is_meta
    assert layer(torch.empty(2, 3, 8, 8, device="meta")).shape == (2, 4, 6, 6)
    assert nn.Conv(1, 1, 3).double().weight.dtype == torch.float64


@pytest.mark.parametrize("size", [(8,), (8, 7), (4, 5, 6)])
def test_pools_are_the_operators(size):
    x = torch.randn(2, 3, *size)
    words = {"stride": 1, "padding": "same", "ceil": True}
    assert_close(nn.MaxPool(2, **words, dilation=2)(x), ops.max_pool(x, 2, **words, dilation=2))
    assert_close(nn.AvgPool(2, **words, count_padding=True)(x), ops.avg_pool(x, 2, **words, count_padding=True))


def test_conv_transpose_is_the_operator_with_parameters():
    words = {"stride": (2, 1), "padding": 1, "output_padding": (1, 0), "dilation": (1, 2), "groups": 2, "flip": True}
    layer = nn.ConvTranspose(4, 6, (3, 2), **words)
    x = torch.randn(2, 4, 5, 6)
    assert_close(layer(x), ops.conv_transpose(x, layer.weight, layer.bias, **words))
    assert count(layer) == 4 * 3 * 3 * 2 + 6
    assert nn.ConvTranspose(2, 3, (3,), bias=False)(torch.randn(1, 2, 4)).shape == (1, 3, 6)


def test_conv_transpose_starts_like_pytorch():
    torch.manual_seed(0)
    ours = nn.ConvTranspose(4, 6, 3, groups=2)
    torch.manual_seed(0)
    theirs = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    assert_close(ours.weight, theirs.weight)
    assert_close(ours.bias, theirs.bias)


@pytest.mark.parametrize("modulated", [False, True])
def test_deform_conv_starts_as_a_convolution(modulated):
    """Offsets are zero, the mask is one half everywhere (Zhu et al. 2019, section 3.2)."""
    layer = nn.DeformConv(4, 6, (3, 2), stride=2, padding="same", groups=2, offset_groups=2, modulated=modulated)
    x = torch.randn(2, 4, 7, 6)
    y = ops.conv(x, layer.weight, stride=2, padding="same", groups=2) * (0.5 if modulated else 1.0)
    assert_close(layer(x), y + layer.bias.view(-1, 1, 1))
    predicted = 2 * 6 * (3 if modulated else 2)
    assert count(layer) == 6 * 2 * 6 + 6 + predicted * 4 * 6 + predicted


def test_deform_conv_moves_as_its_predictor_says():
    layer = nn.DeformConv(2, 3, 1, bias=False)
    layer.predictor.bias.data = torch.tensor([1.0, -2.0, 30.0])  # down one, left two, a mask of one
    x = torch.randn(1, 2, 5, 6)
    moved = torch.nn.functional.pad(x, (2, 0, 0, 1))[:, :, 1:, :6]
    assert_close(layer(x), ops.conv(moved, layer.weight))
    layer(x).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize("kernel", [2, (2, 3)])
def test_unpooling_turns_pooling_around(kernel):
    x = torch.rand(2, 3, 7, 9)
    values, switches = nn.MaxPool(kernel, return_switches=True)(x)
    y = nn.MaxUnpool(kernel)(values, switches, (7, 9))
    assert_close(nn.MaxPool(kernel)(y), values)
    assert_close(y, ops.max_unpool(values, switches, kernel, output_size=(7, 9)))


def test_local_response_norm_is_the_operator():
    x = torch.randn(2, 7, 3, 3)
    assert_close(nn.LocalResponseNorm()(x), ops.local_response_norm(x))
    words = {"alpha": 0.5, "beta": 0.5, "k": 1.0}
    assert_close(nn.LocalResponseNorm(3, **words)(x), ops.local_response_norm(x, size=3, **words))


def test_highway_begins_by_carrying_its_input():
    x = torch.randn(2, 3, 5, 5)
    layer = nn.Highway(torch.nn.Sequential(nn.Conv(3, 3, 3, padding="same"), torch.nn.ReLU()), nn.Conv(3, 3, 1))
    assert layer.gate.bias.eq(-2).all()
    gate = torch.sigmoid(ops.conv(x, layer.gate.weight, layer.gate.bias))
    assert_close(layer(x), layer.transform(x) * gate + x * (1 - gate))
    closed = nn.Highway(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), gate_bias=-40.0)
    assert_close(closed(x[..., :4]), x[..., :4])


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_subsample_starts_as_mean_pooling(reduce):
    layer = nn.Subsample(3, (2, 3), reduce=reduce)
    x = torch.randn(2, 3, 4, 6)
    assert_close(layer(x), ops.avg_pool(x, (2, 3)))
    assert count(layer) == 6
    layer.weight.data.normal_()
    assert_close(layer(x), ops.subsample(x, layer.weight, layer.bias, (2, 3), reduce=reduce))


def test_rbf_centres_are_fixed_unless_asked():
    centres = torch.randn(10, 84)
    fixed, trainable = nn.RBF(centres), nn.RBF(centres, trainable=True)
    assert count(fixed) == 0
    assert count(trainable) == 840
    assert set(fixed.state_dict()) == set(trainable.state_dict()) == {"centres"}
    x = torch.randn(3, 84)
    assert_close(fixed(x), ops.rbf(x, centres))
    assert_close(trainable(x), fixed(x))
    centres.zero_()  # the module keeps a copy
    assert fixed.centres.abs().sum() > 0


def test_scaled_tanh():
    """LeCun et al. 1998, appendix A: f(1) = 1, f(-1) = -1."""
    f = nn.ScaledTanh()
    assert_close(f(torch.tensor([1.0, -1.0, 0.0])), torch.tensor([1.0, -1.0, 0.0]), atol=1e-4, rtol=0)
    assert_close(nn.ScaledTanh(2.0, 0.5)(torch.tensor(1.0)), torch.tensor(2 * math.tanh(0.5)))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv(1, 6, 5), "Conv(1, 6, kernel=(5, 5))"),
        (
            nn.Conv(4, 6, (3,), stride=2, padding="same", groups=2, bias=False, flip=True),
            "Conv(4, 6, kernel=(3,), stride=2, padding='same', groups=2, bias=False, flip=True)",
        ),
        (nn.Conv(3, 4, 5, links=LINKS), "Conv(3, 4, kernel=(5, 5), links=8 of 12)"),
        (
            nn.ConvTranspose(4, 6, 3, stride=2, padding="same", output_padding=1, bias=False),
            "ConvTranspose(4, 6, kernel=(3, 3), stride=2, padding='same', output_padding=1, bias=False)",
        ),
        (nn.MaxPool(2), "MaxPool(kernel=2)"),
        (nn.MaxPool(2, return_switches=True), "MaxPool(kernel=2, return_switches=True)"),
        (nn.MaxUnpool(2, stride=1), "MaxUnpool(kernel=2, stride=1)"),
        (nn.LocalResponseNorm(), "LocalResponseNorm(size=5)"),
        (nn.LocalResponseNorm(3, k=1.0), "LocalResponseNorm(size=3, k=1.0)"),
        (nn.AvgPool((3, 2), stride=2, count_padding=True), "AvgPool(kernel=(3, 2), stride=2, count_padding=True)"),
        (nn.Subsample(6, 2, reduce="sum"), "Subsample(6, kernel=(2, 2), reduce='sum')"),
        (nn.RBF(torch.zeros(10, 84)), "RBF(classes=10, features=84)"),
        (nn.RBF(torch.zeros(10, 84), trainable=True), "RBF(classes=10, features=84, trainable=True)"),
        (nn.ScaledTanh(), "ScaledTanh(amplitude=1.7159, slope=0.666667)"),
    ],
)
def test_description(module, text):
    assert repr(module) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv(3, 4, 3, padding="sme"), "Conv: unknown padding 'sme'; did you mean 'same'?"),
        (lambda: nn.Conv(0, 4, 3), "Conv: in_channels must be an integer of 1 or more, got 0"),
        (lambda: nn.Conv(3, 4.0, 3), "Conv: out_channels must be an integer of 1 or more, got 4.0"),
        (lambda: nn.Conv(3, 4, 3, groups=0), "Conv: groups must be an integer of 1 or more, got 0"),
        (
            lambda: nn.Conv(4, 6, 3, groups=4),
            "Conv: groups=4 must divide the input channels (4) and the output channels (6)",
        ),
        (
            lambda: nn.Conv(3, 4, 3, links=torch.ones(3, 4)),
            "Conv: links need a row for each of the 4 output channels and a column for each of the 3 input channels,"
            " got 3 x 4",
        ),
        (
            lambda: nn.Conv(3, 4, 3, stride=(1, 2, 3)),
            "Conv: stride must be an integer of 1 or more, or one per axis (2 axes), got (1, 2, 3)",
        ),
        (
            lambda: nn.ConvTranspose(4, 6, 3, groups=4),
            "ConvTranspose: groups=4 must divide the input channels (4) and the output channels (6)",
        ),
        (lambda: nn.ConvTranspose(4, 0, 3), "ConvTranspose: out_channels must be an integer of 1 or more, got 0"),
        (
            lambda: nn.ConvTranspose(4, 4, 3, padding="sme"),
            "ConvTranspose: unknown padding 'sme'; did you mean 'same'?",
        ),
        (lambda: nn.DeformConv(4, 4, (3,)), "DeformConv: kernel must be an integer or two of them, got (3,)"),
        (
            lambda: nn.DeformConv(4, 4, 3, offset_groups=3),
            "DeformConv: offset_groups=3 must divide the input channels (4)",
        ),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size must be an integer of 1 or more, got 0"),
        (
            lambda: nn.Highway(nn.MaxPool(1), nn.Conv(1, 1, 1, bias=False)),
            "Highway: the gate needs a bias, which starts at -2; got Conv(1, 1, kernel=(1, 1), bias=False)",
        ),
        (lambda: nn.Subsample(0, 2), "Subsample: channels must be 1 or more, got 0"),
        (lambda: nn.Subsample(3, 2, reduce="max"), "Subsample: reduce must be 'mean' or 'sum', got 'max'"),
        (lambda: nn.RBF([[1.0]]), "RBF: centres must be a floating-point tensor, classes x features, got list"),
        (lambda: nn.RBF(torch.ones(3)), "RBF: centres must be a floating-point tensor, classes x features, got (3,)"),
    ],
)
def test_wrong_settings_are_refused_when_the_module_is_made(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message
