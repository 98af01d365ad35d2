"""AlexNet: the figures of the paper, both rows against networks written by hand, two devices, two processes."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, published
from striate.models.alexnet import AlexNet, alexnet
from striate.models.alexnet_parallel import split
from striate.nn import Conv, Dropout

# Caption of figure 2; the first figure is printed as 253,440, which is not 96 maps of 55 x 55.
NEURONS = {"conv1": 290_400, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264}
NEURONS |= {"fc6": 4096, "fc7": 4096, "fc8": 1000}


def small(row: str = "two-paths", size: tuple[int, int] = (67, 99), **options: Any) -> AlexNet:
    torch.manual_seed(0)
    return alexnet(row, classes=5, channels=2, size=size, **options)


def enlivened(model: AlexNet) -> AlexNet:
    """With weights large enough that every layer shows in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (2 / max(parameter[0].numel(), 2)) ** 0.5)
    return model


def test_parameters() -> None:
    """60,965,224, each layer counted by hand; every convolution of the second GPU's half as large as the first's."""
    conv = [96 * (3 * 121 + 1), 256 * (48 * 25 + 1), 384 * (256 * 9 + 1), 384 * (192 * 9 + 1), 256 * (192 * 9 + 1)]
    dense = [4096 * (256 * 36 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1)]
    with torch.device("meta"):
        model = build_as_published("alexnet")
    halves = [
        sum(parameter.numel() for parameter in model.get_submodule(path).parameters()) for path in ("path1", "path2")
    ]
    assert halves[0] == halves[1]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == sum(conv) + sum(dense) == 60_965_224
    for name, expected in zip(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"), conv + dense, strict=False):
        found = [p.numel() for key, p in model.named_parameters() if f".{name}." in key]
        assert sum(found) == expected, name


def test_single_has_torchvisions_parameters() -> None:
    conv = [64 * (3 * 121 + 1), 192 * (64 * 25 + 1), 384 * (192 * 9 + 1), 256 * (384 * 9 + 1), 256 * (256 * 9 + 1)]
    dense = [4096 * (256 * 36 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1)]
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in build_as_published("alexnet-single").parameters())
    assert total == sum(conv) + sum(dense) == 61_100_840


def test_sizes_are_those_of_figure_2() -> None:
    with torch.device("meta"):
        model = build_as_published("alexnet")
        seen = model.features(torch.empty(1, 3, 224, 224))  # type: ignore[operator]
    assert {name: seen[name][0].numel() for name in NEURONS} == NEURONS
    assert seen["pool1"].shape == (1, 96, 27, 27)
    assert seen["pool2"].shape == (1, 256, 13, 13)
    assert seen["pool5"].shape == (1, 256, 6, 6)
    for figure in published("alexnet"):
        if figure.quantity == "output_size" and figure.layer.startswith("path"):
            assert isinstance(figure.value, tuple)
            both = seen[figure.layer.split(".")[1]]
            assert both.shape[1:] == (2 * figure.value[0], *figure.value[1:])


def test_the_paths_meet_where_the_paper_says() -> None:
    with torch.device("meta"):
        model = alexnet()
    assert [stage[0] for stage in model.paths[0].stages] == ["conv1", "conv3", "fc6", "fc7"]
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Conv)}
    assert {name.split(".")[1]: conv.in_channels for name, conv in layers.items()} == {
        "conv1": 3,
        "conv2": 48,
        "conv3": 256,
        "conv4": 192,
        "conv5": 192,
    }


def in_groups(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The paper's network as one path with convolutions in two groups, in plain functions, for evaluation."""

    def joined(layer: str, what: str) -> Tensor:
        return torch.cat([state[f"path1.{layer}.{what}"], state[f"path2.{layer}.{what}"]])

    def conv(name: str, x: Tensor, groups: int, **words: int) -> Tensor:
        weight, bias = joined(name, "conv.weight"), joined(name, "conv.bias")
        return F.relu(F.conv2d(x, weight, bias, groups=groups, **words))

    def norm(x: Tensor) -> Tensor:  # of each half by itself; torch divides alpha by the size, the paper does not
        halves = x.chunk(2, 1)
        return torch.cat([F.local_response_norm(half, 5, alpha=5e-4, beta=0.75, k=2.0) for half in halves], 1)

    def dense(name: str, x: Tensor) -> Tensor:
        return F.relu(F.linear(x, joined(name, "linear.weight"), joined(name, "linear.bias")))

    x = F.max_pool2d(norm(conv("conv1", F.pad(x, (0, 3, 0, 3)), 1, stride=4)), 3, 2)
    x = F.max_pool2d(norm(conv("conv2", x, 2, padding=2)), 3, 2)
    x = conv("conv5", conv("conv4", conv("conv3", x, 1, padding=1), 2, padding=1), 2, padding=1)
    x = dense("fc7", dense("fc6", F.max_pool2d(x, 3, 2).flatten(1)))
    return F.linear(x, state["fc8.weight"], state["fc8.bias"])


@pytest.mark.parametrize("devices", [None, ("cpu", "cpu")])
def test_two_paths_are_convolutions_in_two_groups(devices: tuple[str, str] | None) -> None:
    model = enlivened(small(devices=devices)).eval().double()  # sums in another order round differently
    x = 10 * torch.randn(2, 2, 67, 99, dtype=torch.float64)
    with torch.no_grad():
        expected = in_groups(model.state_dict(), x)
        torch.testing.assert_close(model(x), expected)
        assert (expected[0] - expected[1]).abs().max() > 1e-2
        seen = model.features(x)
    assert torch.equal(seen["logits"], model(x))
    assert list(seen)[:6] == ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2"]
    pool5 = model.get_submodule("path1.pool5")
    torch.testing.assert_close(seen["pool5"][:, :128], pool5(seen["conv5"][:, :128]))


def test_single_is_torchvisions_network() -> None:
    model = enlivened(small("single", (63, 95))).train()
    plain = nn.Sequential(  # torchvision.models.AlexNet with its features, average pooling and classifier in a row
        *(nn.Conv2d(2, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Flatten(), Dropout(), nn.Linear(256 * 1 * 2, 4096), nn.ReLU()),
        *(Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 5)),
    )
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.randn(2, 2, 63, 95)
    outputs = []
    for network in (model, plain):
        torch.manual_seed(1)  # the same units are dropped only if dropout is at the same places
        outputs.append(network(x))
    torch.testing.assert_close(*outputs)
    assert outputs[1].std() > 1e-2


def test_larger_images_without_hanging_windows_give_the_same_maps() -> None:
    """227 x 227, as many write it: 55 x 55 maps, too, and no padding is used."""
    with torch.device("meta"):
        model = alexnet(size=(227, 227))
        seen = model.features(torch.empty(1, 3, 227, 227))
    assert seen["conv1"].shape == (1, 96, 55, 55)
    images = torch.randn(1, 3, 227, 227)
    conv = Conv(3, 2, 11, stride=4, padding=((0, 3), (0, 3)))
    torch.testing.assert_close(conv(images), F.conv2d(images, conv.weight, conv.bias, stride=4))


def test_initialisation_of_section_5() -> None:
    model = small()
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.01, rel=0.05), name
            assert module.bias is not None
            layer = "fc8" if name == "fc8" else name.split(".")[1]
            assert torch.equal(module.bias.detach(), torch.full_like(module.bias, float(layer in ones))), name


def test_dropout_follows_the_dense_hidden_layers() -> None:
    """Section 4.2; in the single path, as torchvision has it, dropout comes before them."""
    with torch.device("meta"):
        two, single = alexnet(dropout=0.25), alexnet("single")
    assert [module.p for module in two.modules() if isinstance(module, nn.Dropout)] == [0.25] * 4
    order = ["flatten", "linear", "relu", "dropout"]
    assert [name for name, _ in two.get_submodule("path2.fc6").named_children()] == order
    order = ["flatten", "dropout", "linear", "relu"]
    assert [name for name, _ in single.get_submodule("path1.fc6").named_children()] == order


def test_the_smallest_sizes_are_the_smallest() -> None:
    for row, least in (("two-paths", 64), ("single", 63)):
        with torch.device("meta"):
            model = alexnet(row, size=(least, least + 40))
            assert model(torch.empty(0, 3, least, least + 40)).shape == (0, 1000)
        with pytest.raises(InputError, match=f"takes images of at least {least} x {least}, the data gives {least - 1}"):
            alexnet(row, size=(least - 1, 224))


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ("one", {}, "alexnet: the rows are two-paths and single, got 'one'"),
        ("two-paths", {"dropout": 2}, "alexnet: dropout must be at least 0 and below 1, got 2"),
        ("two-paths", {"devices": "cpu"}, "alexnet: devices must be two names such as ('cuda:0', 'cuda:1'), got 'cpu'"),
        ("two-paths", {"devices": ("cpu",)}, "alexnet: devices must be two names"),
        ("two-paths", {"devices": ("cpu", "gpu")}, "alexnet: there is no device 'gpu' here"),
        ("two-paths", {"devices": ("cpu", "cuda:99")}, "alexnet: there is no device 'cuda:99' here"),
        ("single", {"devices": ("cpu", "cpu")}, "alexnet-single: has one path and takes no devices"),
    ],
)
def test_unfit_options_are_refused(row: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        small(row, (64, 64), **options)


def test_another_input_is_refused() -> None:
    with torch.device("meta"), pytest.raises(InputError, match=r"alexnet: the input .* is not N x 3 x 224 x 224"):
        build("alexnet", channels=3)(torch.empty(1, 3, 227, 227))


def test_a_placed_network_stays_placed() -> None:
    placed = small(size=(64, 64), devices=("cpu", "cpu"))
    assert placed.devices == (torch.device("cpu"), torch.device("cpu"))
    assert {parameter.dtype for parameter in placed.double().parameters()} == {torch.float64}
    moved: list[torch.device] = []
    for path in placed.paths:
        path.to = moved.append  # type: ignore[assignment, method-assign]
    placed.float()
    assert moved == [torch.device("cpu")] * 2  # put back after every change
    placed.place(None)
    placed.float()
    assert len(moved) == 2
    assert placed.fc8.weight.dtype == torch.float32


def two_devices() -> tuple[str, str] | None:
    if not torch.cuda.is_available():
        return None
    return ("cuda:0", "cuda:1") if torch.cuda.device_count() > 1 else ("cuda:0", "cpu")


@pytest.mark.skipif(two_devices() is None, reason="needs a GPU")
def test_two_devices_compute_what_one_does() -> None:
    devices = two_devices()
    assert devices is not None
    one = enlivened(small(size=(64, 64), dropout=0.0)).double()
    two = small(size=(64, 64), dropout=0.0, devices=devices).double()
    two.load_state_dict(one.state_dict())
    assert two.to(devices[0]).paths[1].device == torch.device(devices[1])  # asked to gather, it stays placed
    x = torch.randn(3, 2, 64, 64, dtype=torch.float64)
    for model in (one, two):
        logits = model(x.to(model.fc8.weight.device))
        assert logits.device == model.fc8.weight.device
        F.cross_entropy(logits, torch.tensor([0, 1, 2], device=logits.device)).backward()  # type: ignore[no-untyped-call]
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad.cpu(), msg=name)


# What each of the two processes does: train its half and the whole network side by side.
PROCESS = """
import copy, sys
from datetime import timedelta
import torch, torch.distributed as dist
from torch.nn.functional import cross_entropy
from striate.models.alexnet import alexnet
from striate.models.alexnet_parallel import join, split

torch.set_num_threads(1)
rank, port = int(sys.argv[1]), int(sys.argv[2])
store = dist.TCPStore("127.0.0.1", port, 2, rank == 0, timeout=timedelta(seconds=60))
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))

torch.manual_seed(0)
whole = alexnet(classes=3, channels=1, size=(64, 64), dropout=0.0)
with torch.no_grad():
    for parameter in whole.parameters():  # large enough that every layer shows in the logits
        parameter.mul_(100 * (2 / max(parameter[0].numel(), 200)) ** 0.5)
half = split(copy.deepcopy(whole))
x, labels = torch.randn(2, 1, 64, 64), torch.tensor([0, 2])
for step in range(2):
    losses = []
    for model in (whole, half):
        model.zero_grad()
        logits = model(x)
        loss = cross_entropy(logits, labels)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1])
    wholes = dict(whole.named_parameters())
    units = slice(rank * 2048, (rank + 1) * 2048)
    for name, parameter in half.named_parameters():
        expected = wholes[name].grad[:, units] if name == "fc8.weight" else wholes[name].grad
        scale = float(expected.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-4 * scale, msg=name)
    assert sum(p.numel() for p in half.parameters()) < 0.51 * sum(p.numel() for p in whole.parameters())
    with torch.no_grad():
        for model in (whole, half):
            for parameter in model.parameters():
                parameter.sub_(1e-3 * parameter.grad)
state = join(half)
assert list(state) == list(whole.state_dict())
for name, value in whole.state_dict().items():
    torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5, msg=name)
dist.destroy_process_group()
print("equal")
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Loss, gradients and the weights after two steps are those of the whole network in one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = tmp_path / "half.py"
    program.write_text(PROCESS)
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            output, errors = process.communicate(timeout=120)
            assert output.strip() == "equal", errors
    finally:
        for process in processes:
            process.kill()


def test_what_cannot_be_split_is_refused() -> None:
    with torch.device("meta"):
        with pytest.raises(InputError, match="alexnet-single: has one path and cannot be split"):
            split(alexnet("single"))
        with pytest.raises(InputError, match="alexnet: its halves need a group of 2 processes, this one has 1"):
            split(alexnet())
