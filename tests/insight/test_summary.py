"""Summaries: counts against the papers, against counting by hand and against PyTorch's own counter."""

import copy
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from striate import nn as snn
from striate import ops
from striate.errors import InputError
from striate.insight import Summary, summarize
from striate.models import build, build_as_published


def published(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_as_published(name)


def row(summary: Summary, name: str) -> Any:
    found = [row for row in summary.rows if row.name == name]
    assert len(found) == 1, [row.name for row in summary.rows]
    return found[0]


@pytest.mark.parametrize(
    ("layer", "size", "neurons", "parameters", "connections"),
    [
        ("C1", (6, 28, 28), 4704, 156, 122304),
        ("S2", (6, 14, 14), 1176, 12, 5880),
        ("C3", (16, 10, 10), 1600, 1516, 151600),
        ("S4", (16, 5, 5), 400, 32, 2000),
        ("C5", (120, 1, 1), 120, 48120, 48120),
        ("F6", (84,), 84, 10164, 10164),
        ("output", (10,), 10, 0, 840),
    ],
)
def test_lenet5_layer_by_layer(layer: str, size: Any, neurons: int, parameters: int, connections: int) -> None:
    """LeCun et al. 1998, section II.B."""
    found = row(summarize(build("lenet5")), layer)
    assert (found.output_size, found.neurons, found.parameters, found.connections) == (
        size,
        neurons,
        parameters,
        connections,
    )


def test_totals_of_known_networks() -> None:
    lenet = summarize(build("lenet5"))
    assert (lenet.totals().parameters, lenet.totals().connections) == (60_000, 340_908)
    vgg = summarize(published("vgg-d"))
    assert (vgg.totals().parameters, vgg.totals().macs) == (138_357_544, 15_470_264_320)
    resnet = summarize(published("resnet-50"))
    assert (resnet.totals().parameters, resnet.totals().macs) == (25_557_032, 3_857_973_248)
    assert resnet.receptive_field("conv5_3").size == (483, 483)  # Araujo, Norris, Sim 2019, table 1
    assert vgg.receptive_field("pool5").size == (212, 212)  # likewise


@pytest.mark.parametrize("name", ["vgg-a", "resnet-18", "googlenet", "convnet", "fcn-32s", "resnet-cifar-20"])
def test_macs_of_convolutions_and_dense_layers_are_those_of_pytorchs_counter(name: str) -> None:
    model: Any = published(name).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, *model.input_size, device="meta"))
    summary = summarize(model)
    assert 2 * summary.totals().macs == counter.get_total_flops()
    assert summary.totals().parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("layer", "size", "neurons", "connections", "macs", "flops"),
    [
        (nn.Conv1d(3, 4, 3, stride=2), (3, 9), 16, 16 * 10, 16 * 9, 16 * 19),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False), (4, 5, 5), 150, 150 * 18, 150 * 18, 150 * 36),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 16, 16 * 9, 16 * 8, 16 * 17),
        (nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), (3, 5, 6), 240, 30 * 96 + 240, 30 * 96, 30 * 192 + 240),
        (nn.Linear(5, 3), (5,), 3, 18, 15, 33),
        (nn.Linear(5, 3, bias=False), (7, 5), 21, 105, 105, 210),
        (nn.MaxPool2d(3, 2), (2, 7, 7), 18, 162, 0, 162),
        (nn.AvgPool1d(2), (2, 6), 6, 12, 0, 12),
        (nn.AdaptiveAvgPool2d((2, 3)), (1, 3, 3), 6, 12, 0, 12),  # bins of 2 x 1 in 3 rows: the middle one twice
        (nn.AdaptiveAvgPool2d(1), (4, 5, 5), 0, 0, 0, 100),
        (nn.ReLU(), (2, 3, 3), 0, 0, 0, 18),
        (nn.BatchNorm2d(2), (2, 3, 3), 0, 0, 0, 36),
        (nn.LayerNorm(4), (5, 4), 0, 0, 0, 140),
        (nn.GroupNorm(2, 4, affine=False), (4, 3), 0, 0, 0, 60),
        (nn.Softmax(1), (6,), 0, 0, 0, 30),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 3, 3), 0, 0, 0, 36 * 7),
        (nn.Upsample(scale_factor=2), (1, 3, 3), 0, 0, 0, 0),
        (nn.Dropout(0.5), (3,), 0, 0, 0, 0),
        (nn.Embedding(9, 4), None, 0, 0, 0, 0),
        (snn.Conv(2, 2, 3, links=[[1, 0], [1, 1]]), (2, 4, 4), 8, 3 * 9 * 4 + 8, 108, 224),
        (snn.Conv(1, 1, 3, upsample=2, bias=False), (1, 4, 4), 25, 81 - 25 + 0, 56, 112),
        (snn.ConvTranspose(3, 2, 4, stride=2, padding=1), (3, 5, 6), 240, 30 * 96 + 240, 30 * 96, 30 * 192 + 240),
        (snn.Subsample(2, 2), (2, 4, 4), 8, 40, 8, 40),
        (snn.MaxPool(2, ceil=True), (1, 3, 3), 4, 16, 0, 16),
        (snn.AvgPool(3, padding="same", stride=1), (1, 4, 4), 16, 144, 0, 144),
        (snn.RBF(torch.ones(3, 5)), (5,), 3, 15, 15, 45),
        (snn.LocalResponseNorm(5), (8, 2, 2), 0, 0, 0, 32 * 9),
        (snn.ScaledTanh(), (4,), 0, 0, 0, 12),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_every_kind_by_hand(layer: nn.Module, size: Any, neurons: int, connections: int, macs: int, flops: int) -> None:
    inputs = None if size else torch.zeros(1, 3, dtype=torch.long)
    (found,) = summarize(layer, size, inputs=inputs).rows
    if isinstance(layer, snn.Conv) and layer.upsample == 2:  # of 5 outputs on an axis, 2 see two inputs and 3 one
        taps = sum((o + k) % 2 == 0 for o in range(5) for k in range(3)) ** 2
        connections, macs, flops = taps, taps, 2 * taps
    assert (found.neurons, found.connections, found.macs, found.flops) == (neurons, connections, macs, flops)
    assert found.counted
    assert found.kind == type(layer).__name__


def test_deformable_convolution() -> None:
    summary = summarize(snn.DeformConv(4, 6, 3, padding="same"), (4, 5, 5))
    names = [found.name for found in summary.rows]
    assert names == ["predictor", "sigmoid()", "deform_conv()"]
    found = row(summary, "deform_conv()")
    assert (found.parameters, found.macs) == (6 * 4 * 9 + 6, 25 * 6 * 36)
    assert found.flops == 2 * found.macs + 150 + 8 * 25 * 36
    assert summary.totals().parameters == sum(p.numel() for p in snn.DeformConv(4, 6, 3).parameters())


class Functional(nn.Module):
    """What modules compute by functions is seen too."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(3, 1, 3, 3))
        self.dense = nn.Parameter(torch.ones(2, 6))
        self.conv = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([F.relu(F.conv2d(x, self.kernel, padding=1)), self.conv(x)], 1)
        y = ops.max_pool(y, 2, stride=2) + 1
        return y.mean((2, 3)) @ self.dense.t()


def test_functions_between_modules() -> None:
    summary = summarize(Functional(), (1, 6, 6))
    assert [found.name for found in summary.rows] == [
        "conv()",
        "relu()",
        "conv",
        "cat()",
        "max_pool()",
        "add()",
        "mean()",
        "matmul()",
    ]
    assert summary.totals().parameters == 27 + 12 + 30
    assert summary.totals().macs == 2 * 36 * 27 + 12
    assert row(summary, "conv()").parameters == 27
    assert row(summary, "matmul()").connections == 12
    assert summary.totals("conv").macs == 36 * 27
    assert summary.totals("", without=["conv"]).macs == 36 * 27 + 12


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.again(self.second(self.first(x)))
        return y


def test_what_is_shared_counts_once_but_runs_each_time() -> None:
    summary = summarize(Tied(), (4,))
    assert [(found.name, found.parameters, found.macs) for found in summary.rows] == [
        ("first", 20, 16),
        ("second", 0, 16),
        ("first", 0, 16),
    ]
    assert summary.totals().parameters == 20
    assert summary.rows[1].note == "shares first.weight with first"
    assert summary.output_size("again") == (4,)
    assert summary.totals("again").macs == 32


def test_parameters_that_are_not_reached_are_counted() -> None:
    summary = summarize(published("googlenet"))
    aside = [found for found in summary.rows if found.note == "not called"]
    assert aside
    assert all(found.name.startswith("auxiliary") for found in aside)
    assert summary.totals("auxiliary_4a").macs == 0
    total, without = summary.totals(), summary.totals("", ["auxiliary_4a", "auxiliary_4d"])
    assert total.parameters - without.parameters == sum(found.parameters for found in aside) > 0


def test_frozen_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    totals = summarize(model, (3,)).totals()
    assert (totals.parameters, totals.trainable) == (12, 6)
    stored = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert totals.weight_bytes == stored


def test_memory_is_that_of_new_storage() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.ReLU(), nn.Flatten(), nn.Dropout())
    summary = summarize(model, (1, 6, 6))
    assert [found.activation_bytes for found in summary.rows] == [256, 0, 256, 0, 0]
    assert summarize(model.double(), (1, 6, 6), batch=3).totals().activation_bytes == 2 * 3 * 512
    with torch.no_grad():
        outputs = [model[0](torch.zeros(3, 1, 6, 6, dtype=torch.float64))]
    assert outputs[0].untyped_storage().nbytes() == 3 * 512


def test_attention_and_recurrence() -> None:
    attention = summarize(nn.MultiheadAttention(8, 2, batch_first=True), inputs=[torch.zeros(1, 5, 8)] * 3)
    (found,) = attention.rows
    assert found.macs == 5 * 8 * 24 + 2 * 5 * 5 * 8 + 5 * 8 * 8
    assert found.parameters == 24 * 8 + 24 + 72
    assert found.counted
    (lstm,) = summarize(nn.LSTM(3, 4, batch_first=True), (6, 3)).rows
    assert not lstm.counted
    assert "not counted" in lstm.note
    assert lstm.macs >= 6 * 16 * 7
    assert lstm.parameters == 16 * 7 + 32


def test_an_operation_that_is_not_known_is_said_to_be_uncounted() -> None:
    class Inverse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.linalg.inv(x + torch.eye(3))
            return y

    (found,) = summarize(Inverse(), (3, 3)).rows
    assert not found.counted
    assert "linalg_inv" in found.note
    assert ">=" in summarize(Inverse(), (3, 3)).as_text()


def test_what_depends_on_numbers_runs_on_real_ones() -> None:
    class Picks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if float(x.sum()) > 1 else x + 1

    assert [found.name for found in summarize(Picks(), (3,)).rows if found.kind != "Picks"] == []
    summary = summarize(nn.Sequential(nn.Linear(3, 3), Picks()), (3,))
    assert summary.failure is None
    assert [found.kind for found in summary.rows] == ["Linear", "Picks"]
    failed = summarize(nn.Sequential(nn.Linear(3, 3, device="meta"), Picks()), (3,))
    assert failed.failure is not None


class Restless(nn.Module):
    """Everything that running may change."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=None)
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        self.calls = self.calls + 1
        self.last = self.drop(self.norm(x)) + torch.rand(1)
        if float(self.last.detach().sum()) > 1e9:  # needs real numbers
            raise ValueError
        return self.last


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_comes_back_as_it_was(fails: bool) -> None:
    model: Any = nn.Sequential(Restless(), nn.Linear(4, 2))
    model.train()
    model[1].eval()
    model[1].weight.grad = torch.ones(2, 4)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    buffer = model[0].calls
    summary = summarize(model, (1, 3, 5 if fails else 4))
    assert (summary.failure is not None) == fails
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))
    assert model[0].calls is buffer
    assert model[0].last is None
    assert (model.training, model[0].training, model[0].norm.training, model[1].training) == (True, True, True, False)
    assert torch.equal(model[1].weight.grad, torch.ones(2, 4))
    assert all(p.grad is None for p in model[0].parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    assert type(model(torch.zeros(1, 1, 3, 4))) is Tensor


class Mismatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x[:, :, 1:]


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 2)),
            (1, 8, 8),
            "2 (Linear): the dense layer takes 64 features, its input 1 x 144 has 144; the network was made for another"
            " image size",
        ),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(72, 2)), (1, 8, 8), "1 (Linear): the dense layer takes 72"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(72, 2)), (1, 8, 8), "flatten it first (nn.Flatten)"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)),
            (3, 8, 8),
            "1 (Conv2d): the layer takes 3 channels, its input 1 x 4 x 6 x 6 has 4",
        ),
        (
            nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 4, 5, padding=1)),
            (1, 4, 9),
            "1 (Conv2d): a window of 5 x 5 does not fit into its input 2 x 4: at this layer it must be at least 3 x 3",
        ),
        (
            nn.Sequential(snn.Conv(1, 4, 5)),
            (1, 4, 4),
            "0 (Conv): conv: a window of (5, 5) does not fit into the input size (4, 4)",
        ),
        (snn.Conv(2, 4, 3), (1, 4, 4), "the network (Conv): the layer takes 2 channels"),
        (nn.BatchNorm2d(3), (4, 5, 5), "the layer takes 3 channels, its input 1 x 4 x 5 x 5 has 4"),
        (
            nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double()),
            (3,),
            "the input is float32, the weights are float64",
        ),
        (Functional(), (2, 6, 6), "the network (Functional)"),
        (Mismatch(), (2, 6, 6), "the network (Mismatch) with the input 1 x 2 x 6 x 6: The size of tensor a (6)"),
        (build("lenet5"), (1, 28, 28), "lenet5: the input (1, 1, 28, 28) is not N x 1 x 32 x 32"),
    ],
)
def test_failures_in_a_sentence(
    model: nn.Module, size: Any, sentence: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    summary = summarize(model, size)
    assert summary.failure is not None
    assert sentence in summary.failure
    assert "\n" not in summary.failure
    assert capfd.readouterr() == ("", "")
    assert caplog.records == [], "no traceback"
    assert sentence in summary.as_text()
    assert not any(found.note == "not called" for found in summary.rows)


def test_rows_up_to_the_failure() -> None:
    summary = summarize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8))
    assert [found.name for found in summary.rows] == ["0", "1", "2"]
    assert summary.totals().macs == 36 * 36


def test_containers_have_sizes_and_totals() -> None:
    summary = summarize(published("googlenet"))
    assert summary.output_size("inception_3a") == (256, 28, 28)
    assert summary.output_size() == (1000,)
    inside = [found for found in summary.rows if found.name.startswith("inception_3a.")]
    assert summary.totals("inception_3a").parameters == sum(found.parameters for found in inside) == 163_696
    with pytest.raises(InputError, match=r"no module 'inception_3x' was called; did you mean 'inception_3"):
        summary.output_size("inception_3x")
    with pytest.raises(InputError, match="there is no module 'inception_3z'"):
        summary.totals("", without=["inception_3z"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give input_size"),
        ({"input_size": (3, 0)}, "input_size must be integers of 1 or more"),
        ({"input_size": 5}, "input_size must be integers of 1 or more"),
        ({"input_size": (1.5, 2)}, "input_size must be integers of 1 or more"),
        ({"input_size": (3,), "batch": 0}, "batch must be an integer of 1 or more"),
        ({"inputs": []}, "inputs must be a tensor or a list of tensors"),
        ({"inputs": [3]}, "inputs must be a tensor or a list of tensors"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        summarize(nn.Linear(3, 3), **arguments)


def test_json_says_the_same() -> None:
    summary = summarize(build("convnet"))
    values = json.loads(json.dumps(summary.to_json()))
    assert values["totals"]["macs"] == summary.totals().macs
    assert [found["name"] for found in values["rows"]] == [found.name for found in summary.rows]
    assert [r["effective_stride"] for r in values["rows"] if r["name"] == "blocks.block1.pool1"] == [["2", "2"]]
    assert values["failure"] is None


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_fits(width: int) -> None:
    for model in (build("lenet5"), published("googlenet"), published("resnet-50")):
        lines = summarize(model).as_text(width=width).splitlines()
        table = lines[: lines.index("")]
        assert max(map(len, table)) <= width
        assert "\u2026" not in "".join(table[1:])
        assert {"output", "params", "MACs", "FLOPs", "field"} <= set(table[0].split())


def test_batches_of_examples_count_as_given() -> None:
    one, five = (summarize(nn.Linear(4, 3), inputs=torch.zeros(n, 4)).totals() for n in (1, 5))
    assert (five.macs, five.parameters) == (5 * one.macs, one.parameters)
    assert math.prod(summarize(nn.Linear(4, 3), inputs=torch.zeros(5, 4)).output_size()) == 3


def test_awkward_inputs() -> None:
    none = summarize(build("convnet"), inputs=torch.zeros(0, 1, 32, 32))
    assert (none.failure, none.totals().macs, none.totals().parameters) == (None, 0, 288_170)
    half: Any = build("convnet").bfloat16()
    half.to(memory_format=torch.channels_last)
    assert summarize(half).totals().activation_bytes * 2 == summarize(build("convnet")).totals().activation_bytes
    with torch.inference_mode():
        assert summarize(nn.Conv2d(1, 1, 3), (1, 8, 8)).totals().macs == 324
    (cell,) = summarize(nn.GRUCell(3, 4), inputs=[torch.zeros(1, 3), torch.zeros(1, 4)]).rows
    assert (cell.macs, cell.counted) == (12 * 7, True)
    with pytest.raises(InputError, match="a scripted module cannot be looked into"):
        summarize(torch.jit.trace(nn.ReLU(), torch.zeros(3)), (3,))  # type: ignore[no-untyped-call]


def test_reparametrised_layers_are_layers() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3))
    (found,) = summarize(layer, (1, 8, 8)).rows
    assert (found.macs, found.parameters) == (36 * 18, 18 + 2 + 2)


def test_modules_that_return_several_things() -> None:
    class Several(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"first": x + 1, "rest": (x * 2, [x])}

    (found,) = summarize(Several(), (3, 4, 4)).rows
    assert (found.output_size, found.flops, found.activation_bytes) == ((3, 4, 4), 96, 384)


def test_errors_inside_a_module_are_told() -> None:
    class Bad(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("x")

    assert summarize(nn.Sequential(nn.ReLU(), Bad()), (3,)).failure == "1 (Bad) with the input 1 x 3: 'x'"
