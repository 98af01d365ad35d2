"""Small networks computed as one: against the same modules in float64, and by finite differences."""

import copy
import random

import pytest
import torch
from torch import nn

from kernel_checks import CONTRACT, SETS, error, needs_extension
from striate import nn as snn
from striate.errors import InputError
from striate.models import build
from striate.nn import Conv, Fused, Sequenced, fused
from striate.ops.impl.native.library import use_instruction_set

pytestmark = needs_extension
TABLE = [[1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, 0]]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spread(model, seed=0):
    """Parameters of about 0.3, biases too, so that nothing is near zero everywhere."""
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=seed * 1000 + number) * 0.3)
    return model


def results(compute, model, x, *, input_grad=True):
    """The output and the gradients of the input and of all parameters for one fixed gradient of the output."""
    x = x.clone().requires_grad_(input_grad)
    y = compute(x)
    wanted = [*([x] if input_grad else []), *(p for p in model.parameters() if p.requires_grad)]
    return [y.detach(), *torch.autograd.grad(y, wanted, normal(*y.shape, seed=9).to(y.dtype))]


def check(model, size, batch=5, *, input_grad=True):
    one = Fused(model, size)
    x = normal(batch, *size, seed=3)
    assert one.supports(x) is None
    exact = copy.deepcopy(model).double()
    expected = results(exact, exact, x.double(), input_grad=input_grad)
    for index, (a, b) in enumerate(zip(results(one, model, x, input_grad=input_grad), expected, strict=True)):
        assert error(a, b) <= CONTRACT, f"result {index} {tuple(a.shape)}: {error(a, b):.1e}"


LAYERS = {
    "conv": (Conv(3, 7, (3, 5)), (3, 8, 9)),
    "conv one channel": (Conv(1, 1, 1), (1, 3, 2)),
    "conv padded": (Conv(2, 13, (5, 4), padding=((3, 2), (0, 3)), bias=False), (2, 7, 5)),
    "conv strided": (Conv(3, 5, (3, 4), stride=(2, 3), padding=((1, 1), (2, 1))), (3, 10, 11)),
    "conv strided past the kernel": (Conv(2, 3, 2, stride=3), (2, 9, 10)),
    "conv dilated": (Conv(2, 4, (3, 2), dilation=(2, 3), padding=((2, 3), (1, 0))), (2, 9, 8)),
    "conv grouped": (Conv(6, 9, 3, groups=3, padding="same"), (6, 5, 6)),
    "conv depthwise": (Conv(5, 5, 3, groups=5, stride=2, padding="same"), (5, 7, 7)),
    "conv linked": (Conv(3, 5, (4, 3), links=TABLE, padding=((0, 1), (2, 0))), (3, 9, 14)),
    "conv wide": (Conv(2, 17, (3, 13), padding=(0, 12)), (2, 4, 30)),
    "conv to one place": (Conv(3, 14, (4, 3)), (3, 4, 3)),
    "conv of PyTorch": (nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 11, 9)),
    "max pool": (snn.MaxPool(2), (3, 6, 4)),
    "max pool overlapping": (snn.MaxPool((3, 2), stride=(2, 1), padding=(1, 0), ceil=True), (2, 8, 5)),
    "max pool with a rest": (nn.MaxPool2d(2), (2, 7, 5)),
    "avg pool": (snn.AvgPool(3, stride=2, padding=1), (2, 8, 7)),
    "avg pool of PyTorch": (nn.AvgPool2d(2, ceil_mode=True), (2, 5, 7)),
    "avg pool of everything": (nn.AdaptiveAvgPool2d(1), (4, 5, 3)),
    "subsample sum": (snn.Subsample(3, 2, reduce="sum"), (3, 6, 8)),
    "subsample mean": (snn.Subsample(2, (3, 2), stride=(2, 2)), (2, 8, 7)),
    "dense": (nn.Sequential(nn.Flatten(), nn.Linear(30, 37)), (5, 2, 3)),
    "dense without bias": (nn.Sequential(nn.Flatten(), snn.Linear(3, 2, bias=False)), (3, 1, 1)),
    "rbf": (nn.Sequential(nn.Flatten(), snn.RBF(normal(4, 12, seed=5)), snn.Negative()), (3, 2, 2)),
    "scaled tanh": (snn.ScaledTanh(1.3, 0.7), (2, 3, 3)),
    "tanh": (nn.Tanh(), (2, 3, 3)),
    "sigmoid": (nn.Sigmoid(), (2, 3, 3)),
    "relu": (nn.ReLU(inplace=True), (2, 3, 3)),
}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_with_padding_before_and_after_it(name, kind):
    layer, size = LAYERS[name]
    channels = size[0]
    around = [Conv(channels, channels, 3, padding="same"), copy.deepcopy(layer)]
    flat = isinstance(layer, nn.Sequential)
    if not flat:  # what follows reads borders, too
        out = around[1](torch.zeros(1, *size)).shape[1]
        around += [nn.ReLU(), Conv(out, 3, (3, 2), stride=(1, 2), padding="full")]
    model = spread(nn.Sequential(*around))
    with use_instruction_set(kind):
        for batch in (1, 5, 17):
            check(model, size, batch)


def random_chain(draw):
    """A chain of known layers that fit each other, and its input size."""
    size = channels, height, width = (draw.randint(1, 4), draw.randint(6, 15), draw.randint(6, 15))
    parts = []
    for _ in range(draw.randint(1, 4)):
        k = (draw.randint(1, min(5, height)), draw.randint(1, min(5, width)))
        choice = draw.choice(("conv", "conv", "conv", "links", "max", "avg", "subsample"))
        if choice in {"conv", "links"}:
            out = draw.randint(1, 9)
            pads = tuple((draw.randint(0, n - 1), draw.randint(0, n - 1)) for n in k)
            links = [[draw.randint(0, 1) for _ in range(channels)] for _ in range(out)] if choice == "links" else None
            links = links if links and any(map(sum, links)) else None
            parts.append(Conv(channels, out, k, stride=(draw.randint(1, 2), 1), padding=pads, links=links))
        elif choice == "subsample":
            parts.append(snn.Subsample(channels, k, reduce=draw.choice(("mean", "sum"))))
        else:
            kind = snn.MaxPool if choice == "max" else snn.AvgPool
            parts.append(kind(k, stride=draw.randint(1, 2), ceil=draw.random() < 0.5))
        parts.append(draw.choice((nn.ReLU(), nn.Tanh(), snn.ScaledTanh(), nn.Sigmoid(), nn.Identity())))
        channels, height, width = nn.Sequential(*parts)(torch.zeros(1, *size)).shape[1:]
    features = channels * height * width
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(features, 13), nn.Tanh(), nn.Linear(13, 3)), size


@pytest.mark.parametrize("seed", range(25))
def test_random_chains(seed):
    draw = random.Random(seed)
    model, size = random_chain(draw)
    with use_instruction_set(draw.choice(SETS)):
        check(spread(model, seed), size, draw.choice((1, 2, 9, 20)), input_grad=draw.random() < 0.5)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-modern", "convnet"])
def test_networks(name):
    options = {"norm": "none", "blocks": ((1, 6, 1), (2, 9, 1)), "dense": (11,)} if name == "convnet" else {}
    model = build(name, classes=7, channels=2, size=(32, 32), **options)
    assert isinstance(model, Sequenced)
    x = normal(3, 2, 32, 32)
    y = x
    for module in model.sequence():
        y = module(y)
    assert torch.equal(y, model(x))  # the sequence is what the network does
    check(model, (2, 32, 32), 11)
    assert isinstance(fused(model, (2, 32, 32)), Fused)


def test_gradients_are_the_slopes():
    model = spread(
        nn.Sequential(Conv(2, 3, 3, padding=1), nn.Tanh(), snn.Subsample(3, 2), nn.Flatten(), nn.Linear(12, 2))
    )
    one, x = Fused(model, (2, 4, 4)), normal(3, 2, 4, 4)
    weights = normal(3, 2, seed=4)
    for p in model.parameters():
        (slopes,) = torch.autograd.grad((one(x) * weights).sum(), p)
        step, flat = 1e-2, p.detach().view(-1)
        for i in range(0, flat.numel(), 3):
            before = float(flat[i])
            ends = []
            for value in (before + step, before - step):
                flat[i] = value
                ends.append(float((one(x) * weights).detach().double().sum()))
            flat[i] = before
            assert abs((ends[0] - ends[1]) / (2 * step) - float(slopes.view(-1)[i])) < 2e-3


def test_equal_maxima_give_the_gradient_to_the_first():
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), Conv(1, 1, 1, bias=False))
    nn.init.ones_(model[2].weight)
    x = torch.full((1, 1, 2, 2), 3.0)
    (grad,) = results(Fused(model, (1, 2, 2)), nn.Identity(), x)[1:]
    assert torch.equal(grad, grad[0, 0, 0, 0] * torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    assert grad[0, 0, 0, 0] != 0


def test_a_nan_stays_one_and_touches_its_picture_only():
    model = spread(nn.Sequential(Conv(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)))
    x = normal(3, 1, 6, 6)
    x[1, 0, 2, 2] = torch.nan
    y = Fused(model, (1, 6, 6))(x)
    assert y[1].isnan().all()
    assert torch.equal(y[[0, 2]], Fused(model, (1, 6, 6))(x[[0, 2]]))


def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit():
    model = build("lenet5", channels=1)
    one, x = Fused(model, (1, 32, 32)), normal(37, 1, 32, 32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(one, model, x)
        part = one(x[20:21])
        torch.set_num_threads(4)
        together = [results(one, model, x) for _ in range(3)]  # memory of the first is used again
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for again in together for a, b in zip(alone, again, strict=True))
    assert torch.equal(part, alone[0][20:21])


def test_memory_is_kept_apart_as_long_as_it_is_needed():
    model = build("lenet5-modern", channels=1)
    one = Fused(model, (1, 32, 32))
    x, z = normal(4, 1, 32, 32), normal(9, 1, 32, 32, seed=1)
    expected = [results(one, model, images)[2] for images in (x, z)]
    first, second = one(x), one(z)  # two passes under way
    weight = next(model.parameters())
    for y, wanted in ((second, expected[1]), (first, expected[0])):
        grad = normal(*y.shape, seed=9)
        for _ in range(2):
            assert torch.equal(torch.autograd.grad(y, weight, grad, retain_graph=True)[0], wanted)


def test_memory_of_several_sizes_is_used_again():
    """The smaller ones lie first among what is free, and are left there by a batch that is larger."""
    model = build("lenet5-modern", channels=1)
    one = Fused(model, (1, 32, 32))
    sizes = (4, 60, 4, 60)
    expected = [results(Fused(model, (1, 32, 32)), model, normal(size, 1, 32, 32)) for size in sizes]
    held = [one(normal(size, 1, 32, 32)) for size in sizes[:2]]
    del held
    for size, wanted in zip(sizes, expected, strict=True):
        assert all(map(torch.equal, results(one, model, normal(size, 1, 32, 32)), wanted))
    assert len(one.network.free) == 2


def test_parts_that_are_not_trained_have_no_gradient():
    model = spread(nn.Sequential(Conv(1, 4, 3), nn.Tanh(), Conv(4, 3, 3), nn.Flatten(), nn.Linear(12, 2)))
    model[0].requires_grad_(False)
    model[2].weight.requires_grad_(False)
    check(model, (1, 6, 6), input_grad=False)
    model[4].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    check(model, (1, 6, 6), input_grad=False)
    assert not Fused(model.requires_grad_(False), (1, 6, 6))(normal(2, 1, 6, 6)).requires_grad


def test_no_pictures_and_pictures_in_any_layout():
    model = spread(nn.Sequential(Conv(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)))
    one = Fused(model, (3, 6, 6))
    empty = results(one, model, torch.zeros(0, 3, 6, 6))
    assert empty[0].shape == (0, 2)
    assert all(not grad.any() for grad in empty[1:])
    x = normal(5, 3, 6, 6)
    for same in (x.contiguous(memory_format=torch.channels_last), normal(5, 3, 6, 6).flip(3).flip(3), x[:, :, :, :]):
        assert torch.equal(one(same), one(x))
    assert torch.equal(one(x[:1].expand(5, 3, 6, 6))[4], one(x)[0])
    layout = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert torch.equal(Fused(layout, (3, 6, 6))(x), one(x))


def test_gradients_of_gradients_are_the_models():
    model = spread(nn.Sequential(Conv(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2)))
    x = normal(2, 1, 6, 6).requires_grad_()

    def second(compute):
        (first,) = torch.autograd.grad(compute(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *model.parameters()], allow_unused=True)

    for a, b in zip(second(Fused(model, (1, 6, 6))), second(model), strict=True):
        assert (a is None) == (b is None)
        assert a is None or error(a, b.double()) <= CONTRACT


def test_a_parameter_changed_under_way_is_an_error():
    model = nn.Sequential(Conv(1, 2, 3), nn.Tanh())
    y = Fused(model, (1, 5, 5))(normal(2, 1, 5, 5))
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_it_does_not_compute_the_model_does():
    model = build("lenet5", channels=1)
    one, x = Fused(model, (1, 32, 32)), normal(2, 1, 32, 32)
    seen = []
    handle = model.C3.register_forward_hook(lambda *_: seen.append(1))
    assert one.supports(x) == "modules with hooks"
    one(x)
    assert seen == [1]
    handle.remove()
    assert one.supports(x) is None
    assert "float64" in one.supports(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert one.supports(x) == "autocast"
    assert one.supports(x[:, :, :28]) == "images of (1, 28, 32), for it was made for (1, 32, 32)"
    with pytest.raises(InputError, match="is not N x 1 x 32 x 32"):
        one(x[:, :, :28])
    model.eval()
    assert "another mode" in one.supports(x)
    model.train()
    model.C1.weight = nn.Parameter(model.C1.weight.detach() * 2)
    assert "replaced" in one.supports(x)
    one = Fused(model, (1, 32, 32))
    model.S4 = nn.AvgPool2d(2)
    assert "replaced" in one.supports(x)
    assert torch.equal(one(x), model(x))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.BatchNorm2d(1)], r"BatchNorm2d\(.*\): such a layer is not known"),
        ([Conv(1, 1, 3, flip=True)], r"Conv\(1, 1, kernel=\(3, 3\), flip=True\): .*no flipped kernel"),
        ([Conv(1, 1, 3, upsample=2)], "no upsampling"),
        ([Conv(1, 1, 3, padding=3)], "wider than the kernel reaches"),
        ([Conv(1, 1, 3, padding=-1)], "its padding is negative"),
        ([Conv(2, 1, 3)], "its input has 1 channels"),
        ([nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")], "no padding but with zeros"),
        ([Conv(1, 1, 9)], "kernel"),
        ([Conv(1, 1, (3, 3, 3))], "only two axes"),
        ([nn.MaxPool2d(2, dilation=2)], "no switches, dilation or divisor"),
        ([snn.MaxPool(2, return_switches=True)], "no switches"),
        ([nn.AvgPool2d(2, divisor_override=3)], "divisor of its own"),
        ([nn.AvgPool2d(3, padding=1)], "it counts the padding"),
        ([nn.AdaptiveAvgPool2d(2)], "more than one number"),
        ([nn.Linear(8, 2)], "has not been flattened"),
        ([nn.Flatten(), nn.Linear(3, 2)], "it has 64 inputs"),
        ([nn.Flatten(), Conv(64, 1, 1)], "its input is flat"),
        ([nn.Flatten(2)], "flattens other axes"),
        ([nn.Flatten(), snn.RBF(torch.zeros(2, 64), trainable=True)], "its centres are trained"),
        ([Conv(1, 2, 3), nn.Dropout(0.5)], r"Dropout\(p=0.5.*\): such a layer is not known"),
        ([snn.ScaledTanh(0.0)], "its amplitude is 0"),
        ([nn.Flatten()], "a network without parameters"),
    ],
)
def test_what_is_not_known_is_said(layers, reason):
    with pytest.raises(InputError, match=reason):
        Fused(nn.Sequential(*layers), (1, 8, 8))
    assert isinstance(fused(nn.Sequential(*layers), (1, 8, 8)), str)


def test_dropout_that_does_nothing_is_left_out():
    model = spread(nn.Sequential(Conv(1, 2, 3), nn.Dropout(0.5), snn.Dropout(0.5))).eval()
    check(model, (1, 5, 5))


def test_where_it_does_not_pay_is_said():
    wide = nn.Sequential(Conv(3, 64, 3, padding="same"), Conv(64, 64, 3, padding="same"))
    assert "KiB, more than 320" in fused(wide, (3, 32, 32))
    assert fused(Conv(1, 2, 3), (1, 40)) == "inputs of 1 x 40, not images"
    dense = nn.Sequential(nn.Flatten(), nn.Linear(64, 32))
    assert fused(dense, (1, 8, 8)) == "its dense layers multiply more than its convolutions"
