"""Weights from elsewhere: the same outputs as the network they come from, or a refusal that names what is wrong."""

import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from library_networks import (
    CifarResNet,
    GoogLeNet,
    Inception3,
    ResNet,
    alexnet,
    scrambled,
    vgg16,
)
from striate import models
from striate.errors import InputError
from striate.models import LoadReport, build, load_weights
from striate.nn import Conv


def written(path: Path, module: nn.Module, kind: str) -> Path:
    """The module's state dict as a file of one kind."""
    file = path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(module.state_dict(), file)
    else:
        torch.save(module.state_dict(), file)
    return file


def same_outputs(ours: nn.Module, theirs: nn.Module, size: tuple[int, int], batch: int = 2) -> bool:
    x = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.allclose(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def built(name: str, **options: Any) -> Any:
    """One of our networks without the time of drawing its weights; what is not loaded stays NaN."""
    with torch.device("meta"):
        model = build(name, channels=3, **options)
    model = model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.fill_(torch.nan if tensor.is_floating_point() else 0)
    return model


def made(network: Any, *args: object, **options: object) -> Any:
    """A library's network with its norms scrambled and its other weights drawn small."""
    with torch.device("meta"):
        module: nn.Module = network(*args, **options)
    module = module.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            bound = (6 / max(tensor[0].numel(), 1)) ** 0.5 if tensor.ndim > 1 else 0.1
            tensor.data.uniform_(-bound, bound, generator=generator)
        else:
            tensor.data.fill_(3)
    return scrambled(module)


# --- equal outputs with the weights of other libraries ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_torchvision_resnet18(tmp_path: Path, kind: str) -> None:
    theirs = made(ResNet, (2, 2, 2, 2), bottleneck=False, classes=10)
    ours = built("resnet-18", classes=10)
    report = load_weights(ours, written(tmp_path, theirs, kind))
    assert same_outputs(ours, theirs, (40, 33))
    assert (report.by, len(report.used), report.unused, report.kept) == ("structure", 122, (), ())
    assert report.used["layer2.0.downsample.1.running_var"] == ("conv3_1.shortcut.norm.running_var",)


@pytest.mark.parametrize(
    ("name", "stride_in_3x3", "kind"), [("resnet-50-v1.5", True, "pth"), ("resnet-50", False, "safetensors")]
)
def test_torchvision_resnet50_whose_projections_have_the_shape_of_a_third_convolution(
    tmp_path: Path, kind: str, name: str, stride_in_3x3: bool
) -> None:
    theirs = made(ResNet, (3, 4, 6, 3), bottleneck=True, classes=7, stride_in_3x3=stride_in_3x3)
    ours = built(name, classes=7)
    report = load_weights(ours, written(tmp_path, theirs, kind))
    assert same_outputs(ours, theirs, (33, 40), batch=1)
    assert report.used["layer1.0.conv3.weight"] == ("conv2_1.branch.conv3.weight",)
    assert report.used["layer1.0.downsample.0.weight"] == ("conv2_1.shortcut.conv.weight",)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_torchvision_googlenet_with_its_auxiliary_classifiers(tmp_path: Path, kind: str) -> None:
    theirs = made(GoogLeNet, 5)
    ours = built("googlenet-torchvision", classes=5)
    report = load_weights(ours, written(tmp_path, theirs, kind))
    assert same_outputs(ours, theirs, (64, 48), batch=1)
    assert report.used["inception4c.branch3.1.conv.weight"] == ("inception_4c.conv5x5.conv.weight",)
    for number, maps, head in ((1, 512, "auxiliary_4a"), (2, 528, "auxiliary_4d")):
        x = torch.randn(1, maps, 14, 14)
        with torch.no_grad():
            assert torch.allclose(ours.get_submodule(head)(x), theirs.get_submodule(f"aux{number}")(x), atol=1e-4)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_torchvision_inception_v3_whose_branches_share_shapes(tmp_path: Path, kind: str) -> None:
    """Equal but for one thing: torchvision's mean pooling counts the padding, the released network's does not."""
    theirs = made(Inception3, 5, count_padding=False)
    ours = built("inception-v3", classes=5)
    report = load_weights(ours, written(tmp_path, theirs, kind))
    assert same_outputs(ours, theirs, (75, 80), batch=1)
    assert (len(report.unused), len(report.kept)) == (0, 0)
    x = torch.randn(1, 768, 17, 17)
    with torch.no_grad():
        assert torch.allclose(ours.get_submodule("auxiliary")(x), theirs.get_submodule("AuxLogits")(x), atol=1e-4)


def test_torchvision_vgg16(tmp_path: Path) -> None:
    theirs = made(vgg16, classes=4, grid=1)
    ours = built("vgg-d", classes=4, size=(32, 32))
    load_weights(ours, written(tmp_path, theirs, "safetensors"))  # in which features.10 comes before features.2
    assert same_outputs(ours, theirs, (32, 32))


def test_timm_vgg_whose_dense_layers_are_convolutions() -> None:
    theirs = made(vgg16, classes=4, grid=2)
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    state = {}
    for key, tensor in theirs.state_dict().items():
        layer, _, kind = key.rpartition(".")
        sides = {"classifier.0": (2, 2), "classifier.3": (1, 1)}.get(layer)
        state[f"{names.get(layer, layer)}.{kind}"] = (
            tensor.reshape(4096, -1, *sides) if sides and kind == "weight" else tensor
        )
    ours = built("vgg-d", classes=4, size=(64, 64))
    report = load_weights(ours, state)
    assert same_outputs(ours, theirs, (64, 64))
    assert report.reshaped == ("fc6.linear.weight", "fc7.linear.weight")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_torchvision_alexnet(tmp_path: Path, kind: str) -> None:
    theirs = made(alexnet, classes=4, grid=1)
    ours = built("alexnet-single", classes=4, size=(63, 63))
    load_weights(ours, written(tmp_path, theirs, kind))
    assert same_outputs(ours, theirs, (63, 63))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_cifar_resnet_of_akamaster(tmp_path: Path, kind: str) -> None:
    """Its zero maps are put on both sides of the channels, ours behind them: the weights fit, the networks differ."""
    theirs = made(CifarResNet, 3)
    ours = built("resnet-cifar-20", classes=10).eval()
    load_weights(ours, written(tmp_path, theirs, kind))
    x = torch.randn(2, 3, 20, 32)
    with torch.no_grad():
        stage2 = theirs.get_submodule("layer1")(F.relu(theirs.bn1(theirs.conv1(x))))
        assert torch.allclose(ours.features(x)["conv2_3"], stage2, atol=1e-5)
        for module in theirs.modules():
            if type(module).__name__ == "CifarBasic" and module.more:
                _pad_behind(module)
    assert same_outputs(ours, theirs, (20, 32))


def _pad_behind(block: Any) -> None:
    def forward(x: Tensor) -> Tensor:
        y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, block.more)))

    block.forward = forward


def test_the_names_of_weiaicunzai() -> None:
    """`conv2_x.0.residual_function.0`, `shortcut.0`: from the names of the same layers in torchvision."""
    theirs = made(ResNet, (2, 2, 2, 2), bottleneck=False, classes=10)
    layers = {"conv1": "residual_function.0", "bn1": "residual_function.1"}
    layers |= {"conv2": "residual_function.3", "bn2": "residual_function.4"}
    state = {}
    for key, tensor in theirs.state_dict().items():
        top, *rest = key.split(".")
        if top.startswith("layer"):
            block, layer, *rest = rest
            name = [f"conv{int(top[-1]) + 1}_x", block, layers.get(layer, "shortcut"), *rest]
        else:
            name = [{"conv1": "conv1.0", "bn1": "conv1.1"}.get(top, top), *rest]
        state[".".join(name)] = tensor
    ours = built("resnet-18", classes=10)
    load_weights(ours, state)
    assert same_outputs(ours, theirs, (32, 32))


# --- wrappers, own names, other types of numbers ---------------------------------------------------------------------


def small(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return scrambled(build("convnet", blocks=[[1, 4, 1], [1, 6, 1]], size=(8, 8), classes=3))


@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_our_own_names_in_any_wrapper(tmp_path: Path, key: str, prefix: str) -> None:
    source, target = small(1), small(2)
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    torch.save({key: state, "epoch": 3, "optimizer": {"lr": 0.1}} if key else state, tmp_path / "file.pt")
    report = load_weights(target, tmp_path / "file.pt")
    assert report.by == "name"
    assert all(torch.equal(a, source.state_dict()[name]) for name, a in target.state_dict().items())
    assert report.unused == report.kept == report.reshaped == ()


def test_half_precision_becomes_the_models_numbers(tmp_path: Path) -> None:
    source, target = small(1), small(2).double()
    save_file(
        {name: x.bfloat16() if x.is_floating_point() else x for name, x in source.state_dict().items()}, tmp_path / "f"
    )
    load_weights(target, tmp_path / "f")
    assert target.head.classifier.weight.dtype == torch.float64
    assert torch.equal(target.head.classifier.weight, source.head.classifier.weight.bfloat16().double())


def test_the_counter_of_batches_may_be_absent() -> None:
    source, target = small(1), small(2)
    state = {name: x for name, x in source.state_dict().items() if "num_batches" not in name}
    report = load_weights(target, state)
    assert (report.by, report.kept) == ("name", ())


def test_the_parameters_stay_the_same_objects() -> None:
    target = small(2)
    before = list(target.parameters())
    load_weights(target, small(1).state_dict())
    assert all(a is b for a, b in zip(before, target.parameters(), strict=True))


# --- fine-tuning -----------------------------------------------------------------------------------------------------


def test_another_number_of_classes_needs_skip_head() -> None:
    theirs = made(ResNet, (2, 2, 2, 2), bottleneck=False, classes=12)
    ours: Any = build("resnet-18", classes=10, channels=3)
    head = ours.fc.weight.clone()
    with pytest.raises(
        InputError, match=r"the classifier fc is \(12, 512\) with bias, ours, fc, \(10, 512\).*skip_head=True"
    ):
        load_weights(ours, theirs.state_dict())
    report = load_weights(ours, theirs.state_dict(), skip_head=True)
    assert report.kept == report.unused == ("fc.weight", "fc.bias")
    assert torch.equal(ours.fc.weight, head)
    assert torch.equal(ours.conv1.conv.weight, theirs.conv1.weight)


def test_skip_head_leaves_auxiliary_classifiers_of_other_classes_too() -> None:
    theirs = made(GoogLeNet, 7)
    ours = built("googlenet-torchvision", classes=5)
    report = load_weights(ours, theirs.state_dict(), skip_head=True)
    heads = ("auxiliary_4a.linear", "auxiliary_4d.linear", "linear.linear")
    assert sorted(report.kept) == sorted(f"{head}.{kind}" for head in heads for kind in ("weight", "bias"))
    assert torch.equal(ours.auxiliary_4a.fc.weight, theirs.aux1.fc1.weight)


def test_skip_head_by_our_own_names() -> None:
    source, target = build("convnet", classes=3), build("convnet", classes=4)
    with pytest.raises(
        InputError, match=r"head\.classifier is \(3, 128\) with bias in the file, \(4, 128\).*skip_head"
    ):
        load_weights(target, source.state_dict())
    report = load_weights(target, source.state_dict(), skip_head=True)
    assert report.kept == ("head.classifier.weight", "head.classifier.bias")
    assert torch.equal(
        target.state_dict()["blocks.block1.conv1.weight"], source.state_dict()["blocks.block1.conv1.weight"]
    )


def test_skip_head_loads_a_head_that_fits() -> None:
    source, target = small(1), small(2)
    assert load_weights(target, source.state_dict(), skip_head=True).kept == ()


def test_auxiliary_classifiers_that_only_one_side_has() -> None:
    theirs = made(GoogLeNet, 5)
    without = built("googlenet-torchvision", classes=5, auxiliaries=False)
    report = load_weights(without, theirs.state_dict())
    assert len(report.unused) == 2 * (1 + 5 + 4)
    assert all(name.startswith("aux") for name in report.unused)
    assert same_outputs(without, theirs, (32, 32), batch=1)
    bare = {name: x for name, x in theirs.state_dict().items() if not name.startswith("aux")}
    ours = built("googlenet-torchvision", classes=5)
    with pytest.raises(InputError, match=r"nothing in the file for auxiliary_4a\.conv.*skip_head=True leaves the aux"):
        load_weights(ours, bare)
    kept = load_weights(ours, bare, skip_head=True).kept
    assert {name.split(".")[0] for name in kept} == {"auxiliary_4a", "auxiliary_4d"}


# --- grouped convolutions and two paths ------------------------------------------------------------------------------


class TwoPaths(nn.Module):
    """Two paths that meet in the dense layer, as in AlexNet."""

    def __init__(self) -> None:
        super().__init__()
        self.path1 = nn.Sequential(OrderedDict(conv1=Conv(2, 3, 3), conv2=Conv(3, 2, 3)))
        self.path2 = nn.Sequential(OrderedDict(conv1=Conv(2, 3, 3), conv2=Conv(3, 2, 3)))
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.cat([self.path1(x), self.path2(x)], 1).mean((2, 3)))


def test_two_paths_take_the_halves_of_grouped_convolutions() -> None:
    theirs: Any = nn.Sequential(
        OrderedDict(conv1=nn.Conv2d(2, 6, 3), conv2=nn.Conv2d(6, 4, 3, groups=2), fc=nn.Linear(4, 3))
    )
    ours = TwoPaths()
    report = load_weights(ours, theirs.state_dict())
    x = torch.randn(2, 2, 7, 8)
    expected = theirs.fc(theirs.conv2(theirs.conv1(x)).mean((2, 3)))
    assert torch.allclose(ours(x), expected, atol=1e-6)
    assert report.used["conv2.weight"] == ("path1.conv2.weight", "path2.conv2.weight")


def test_alexnet_with_groups_becomes_two_paths() -> None:
    """The one-path form of the paper's network, in which two groups stand for the two paths."""
    rows = ((3, 96, 11, 4, 0, 1), (96, 256, 5, 1, 2, 2), (256, 384, 3, 1, 1, 1), (384, 384, 3, 1, 1, 2))
    theirs = nn.Sequential(*(nn.Conv2d(*row[:5], groups=row[5]) for row in (*rows, (384, 256, 3, 1, 1, 2))))
    theirs.extend([nn.Linear(256, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 4)])

    def forward(x: Tensor) -> Any:
        x = F.pad(x, (0, 3, 0, 3))
        for number, layer in enumerate(theirs, 1):
            x = layer(x if number < 6 else x.flatten(1)).relu() if number < 8 else layer(x)
            if number < 3:  # each path normalises its own maps; alpha is divided by the size in PyTorch
                x = torch.cat([F.local_response_norm(half, 5, 5e-4, 0.75, 2.0) for half in x.chunk(2, 1)], 1)
            x = F.max_pool2d(x, 3, 2) if number in {1, 2, 5} else x
        return x

    ours = built("alexnet", classes=4, size=(64, 64)).eval()
    report = load_weights(ours, theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(x), forward(x), atol=1e-4)
    assert report.used["1.weight"] == ("path1.conv2.conv.weight", "path2.conv2.conv.weight")


# --- what is ambiguous or does not fit -------------------------------------------------------------------------------


def test_two_layers_of_one_shape_in_another_order_are_ambiguous() -> None:
    theirs = nn.Sequential(
        OrderedDict(p=nn.Conv2d(2, 3, 1), q=nn.Conv2d(2, 2, 1), r=nn.Conv2d(2, 2, 1), fc=nn.Linear(3, 2))
    )
    ours = nn.Sequential(
        OrderedDict(a=nn.Conv2d(2, 2, 1), b=nn.Conv2d(2, 2, 1), c=nn.Conv2d(2, 3, 1), fc=nn.Linear(3, 2))
    )
    before = {name: x.clone() for name, x in ours.state_dict().items()}
    with pytest.raises(
        InputError, match=r"ambiguous: q, r have the same shape and another order \(ours: a, b\).*names="
    ):
        load_weights(ours, theirs.state_dict())
    assert all(torch.equal(x, before[name]) for name, x in ours.state_dict().items())
    report = load_weights(ours, theirs.state_dict(), names={"r": "a"}, reordered=True)
    assert {name: target[0] for name, target in report.used.items() if "weight" in name} == {
        "p.weight": "c.weight",
        "q.weight": "b.weight",
        "r.weight": "a.weight",
        "fc.weight": "fc.weight",
    }


def test_branches_in_another_order_are_found_by_shape_and_their_norms_by_what_they_follow() -> None:
    def branches(*order: int) -> nn.Module:
        kernels = {1: (2, 4, 1), 3: (2, 4, 3), 5: (2, 4, 5)}
        return nn.ModuleList([nn.Sequential(nn.Conv2d(*kernels[k]), nn.BatchNorm2d(4)) for k in order])

    theirs: Any = scrambled(branches(1, 3, 5))
    ours: Any = nn.ModuleDict({"m": branches(5, 1, 3)})
    with pytest.raises(InputError, match=r"layers in another order: .*reordered=True takes them"):
        load_weights(ours, theirs.state_dict())
    load_weights(ours, theirs.state_dict(), reordered=True)
    for at, other in ((0, 1), (1, 2), (2, 0)):
        assert torch.equal(theirs[at][0].weight, ours["m"][other][0].weight)
        assert torch.equal(theirs[at][1].running_mean, ours["m"][other][1].running_mean)


def test_shortcuts_that_no_name_tells_are_ambiguous() -> None:
    theirs = made(ResNet, (3, 4, 6, 3), bottleneck=True, classes=7)
    state = {name.replace("downsample", "extra"): x for name, x in theirs.state_dict().items()}
    with pytest.raises(InputError, match=r"ambiguous: .* do not say by name which are shortcuts"):
        load_weights(built("resnet-50", classes=7), state)


def test_sorted_names_that_say_no_order_are_ambiguous(tmp_path: Path) -> None:
    """The serialised order of safetensors is alphabetical: "one" "three" "two" is not an order of layers."""
    theirs: Any = nn.Sequential(OrderedDict((n, nn.Linear(3, 3)) for n in ("one", "two", "three")))
    ours: Any = nn.Sequential(OrderedDict((n, nn.Linear(3, 3)) for n in ("a", "b", "c")))
    with pytest.raises(InputError, match="ambiguous: one, three have the same shape, and neither the file's order"):
        load_weights(ours, written(tmp_path, theirs, "safetensors"))
    load_weights(ours, written(tmp_path, theirs, "pth"))
    assert torch.equal(ours.b.weight, theirs.two.weight)


def test_another_depth_names_what_is_missing_and_left_over() -> None:
    theirs = made(ResNet, (3, 4, 6, 3), bottleneck=False, classes=10)
    ours: Any = build("resnet-18", classes=10, channels=3)
    before = ours.state_dict()["conv1.conv.weight"].clone()
    with pytest.raises(
        InputError, match=r"no place in the model for layer1\.2\.conv1 \(64, 64, 3, 3\), .* and 29 more$"
    ):
        load_weights(ours, theirs.state_dict())
    assert torch.equal(ours.state_dict()["conv1.conv.weight"], before)
    with pytest.raises(InputError, match=r"nothing in the file for conv2_3\.branch\.conv1"):
        load_weights(
            build("resnet-34", classes=10, channels=3),
            made(ResNet, (2, 2, 2, 2), bottleneck=False, classes=10).state_dict(),
        )


def test_a_5x5_branch_does_not_take_3x3_kernels() -> None:
    with pytest.raises(InputError, match="no place in the model for"):
        load_weights(built("googlenet", classes=5), made(GoogLeNet, 5).state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"head.classifier.weight": torch.full((3, 6), torch.nan)},
            "head.classifier.weight holds values that are not finite",
        ),
        ({"head.classifier.weight": torch.ones(3, 6, dtype=torch.int8)}, "holds torch.int8, expected floating-point"),
        ({"extra.weight": torch.ones(2, 2)}, r"does not fit the model: no place in the model for .*\(3, 6\)|extra"),
        ({"head.classifier.weight": torch.ones(3, 6).to_sparse()}, "is a sparse tensor; expected plain numbers"),
        ({"epoch": 3}, "'epoch' is no tensor"),
    ],
)
def test_one_unfit_tensor_leaves_the_model_untouched(change: dict[str, Tensor], message: str) -> None:
    target = small(2)
    before = {name: x.clone() for name, x in target.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(target, {**small(1).state_dict(), **change})
    assert all(torch.equal(x, before[name]) for name, x in target.state_dict().items())


def test_names_are_checked() -> None:
    target = small(2)
    state = small(1).state_dict()
    for names, message in (
        ({"nothing": "head.classifier"}, "the mapping has no layer 'nothing'"),
        ({"head.classifier": "nothing"}, "the model has no layer 'nothing'"),
        ({"head.classifier": "blocks.block1.conv1"}, r"'head.classifier' is \(3, 6\) with bias, 'blocks.block1.conv1'"),
    ):
        with pytest.raises(InputError, match=message):
            load_weights(target, state, names=names)


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = build("convnet")
    with pytest.raises(InputError, match="on the meta device and holds no numbers"):
        load_weights(model, build("convnet").state_dict())


# --- files that are not what they should be --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 40, 400, -1])
def test_a_cut_file_is_one_sentence(tmp_path: Path, kind: str, kept: int) -> None:
    file = written(tmp_path, small(), kind)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"damaged or cut|is empty|not a file of weights") as caught:
        load_weights(small(), file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_cut_file_of_old_pytorch(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    target = small(2)
    assert load_weights(target, tmp_path / "old.pth").by == "name"
    data = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "old.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged or cut"):
        load_weights(target, tmp_path / "old.pth")


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_file_is_not_run(tmp_path: Path, old: bool) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"w": Hostile()}, tmp_path / "file.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(InputError, match=r"holds more than tensors \(posix.mkdir\).* it was not read"):
        load_weights(small(), tmp_path / "file.pt")
    assert not (tmp_path / "ran").exists()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    assert (tmp_path / "file.pt").stat().st_size < 20_000
    with pytest.raises(InputError, match=r"not written by torch.save .its parts are compressed.; it was not read"):
        load_weights(small(), tmp_path / "file.pt")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, world")
    torch.save([1, 2], tmp_path / "list")
    torch.save({"model": {}}, tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with zipfile.ZipFile(tmp_path / "bundle", "w") as archive:
        archive.writestr("manifest.json", "{}")
    for name, message in (
        ("text", "not a file of weights; give"),
        ("list", "holds a list, not a state dict"),
        ("empty", "not a state dict, names with a tensor each .it is empty."),
        ("zip", "a ZIP file without weights"),
        ("bundle", "a bundle; give its tensors"),
        ("absent", "no such file"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            load_weights(small(), tmp_path / name)


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_report_accounts_for_every_tensor() -> None:
    theirs, ours = made(GoogLeNet, 7), built("googlenet-torchvision", classes=5)
    report = load_weights(ours, theirs.state_dict(), skip_head=True)
    assert isinstance(report, LoadReport)
    assert {*report.used, *report.unused} == theirs.state_dict().keys()
    assert not report.used.keys() & set(report.unused)
    targets = [name for names in report.used.values() for name in names]
    assert len(targets) == len(set(targets))
    assert {*targets, *report.kept} == ours.state_dict().keys()
    assert set(report.to_json()) == {"file", "by", "used", "reshaped", "unused", "kept"}
    assert "kept as they were: linear.linear.weight" in report.as_text()


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        models.nothing  # noqa: B018
