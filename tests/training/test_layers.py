"""A network's layers: their order against a real pass, what is frozen, and which rate each has."""

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.models import build
from striate.training import OptimizerOptions
from striate.training._layers import as_text, freeze, layers_of, rates, set_training, table
from striate.training._optimizer import make_optimizer, set_rate

KNOWN = "; known: blocks.block1, blocks.block2.conv1, blocks.block2.conv2, head.classifier, head.dense1"
SMALL = {"blocks": [[1, 4, 2], [2, 6, 1]], "dense": [8]}


def small() -> nn.Module:
    torch.manual_seed(0)
    return build("convnet", **SMALL)


FAMILIES = [
    *("alexnet", "convnet", "deeplab-v2-vgg16", "fcn-8s", "googlenet", "highway-cifar-1", "inception-resnet-v1"),
    *("inception-v3", "lenet5", "nin-cifar10", "preact-resnet-cifar-110", "resnet-18", "vgg-a"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_in_one_layer(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    found = [id(p) for layer in layers_of(model) for p in layer.parameters]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    assert len({layer.name for layer in layers_of(model)}) == len(layers_of(model))


@pytest.mark.parametrize("name", ["resnet-cifar-20", "nin-cifar10", "highway-cifar-1", "convnet"])
def test_layers_are_in_the_order_of_the_pass(name: str) -> None:
    """The order in which a picture comes by is seen by hooks; the order of registration is what is claimed."""
    model = build(name, channels=3, size=(32, 32)).eval()
    seen: list[str] = []
    for layer in layers_of(model):
        first = next(iter(layer.modules.values()))
        first.register_forward_hook(lambda *_, at=layer.name: seen.append(at))
    with torch.inference_mode():
        model(torch.zeros(1, 3, 32, 32))
    assert seen == [layer.name for layer in layers_of(model)]


def test_names_and_depths() -> None:
    assert [(layer.name, layer.depth) for layer in layers_of(small())] == [
        ("blocks.block1", 4),
        ("blocks.block2.conv1", 3),
        ("blocks.block2.conv2", 2),
        ("head.dense1", 1),
        ("head.classifier", 0),
    ]
    assert list(layers_of(small())[1].modules) == ["blocks.block2.conv1", "blocks.block2.norm1"]


def test_auxiliary_classifiers_are_as_near_as_the_output_and_paths_are_equally_deep() -> None:
    with torch.device("meta"):
        google, alex = build("googlenet"), build("alexnet")
    depths = {layer.name: layer.depth for layer in layers_of(google)}
    assert depths["linear"] == depths["auxiliary_4a"] == depths["auxiliary_4d"] == 0
    assert depths["inception_5b"] == 1
    paths = {layer.name: layer.depth for layer in layers_of(alex)}
    assert paths["path1.conv1"] == paths["path2.conv1"] == 7
    assert paths["fc8"] == 0


def frozen(model: nn.Module) -> set[str]:
    return {name.rpartition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("1", {"blocks.block1.conv1", "blocks.block1.norm1"}),
        ("blocks.block2.conv1", {"blocks.block2.conv1", "blocks.block2.norm1"}),
        ("blocks.block2.norm*", {"blocks.block2.norm1", "blocks.block2.norm2"}),
        ("head, blocks.block1", {"head.dense1", "head.classifier", "blocks.block1.conv1", "blocks.block1.norm1"}),
    ],
)
def test_what_freeze_names(names: str, expected: set[str]) -> None:
    model = small()
    freeze(model, names)
    assert frozen(model) == expected


def test_all_but_the_last() -> None:
    model = small()
    freeze(model, "-1")
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "head.classifier.weight",
        "head.classifier.bias",
    ]
    with torch.device("meta"):
        google = build("googlenet")
    freeze(google, "-1")
    assert {name.split(".")[0] for name, p in google.named_parameters() if p.requires_grad} == {
        "linear",
        "auxiliary_4a",
        "auxiliary_4d",
    }


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("blocks.blok1", "freeze=blocks.blok1: the network has no such layer; did you mean 'blocks.block1'?"),
        ("blocks.block1,pool*", f"freeze=pool*: the network has no such layer{KNOWN}"),
        ("blocks.block1,", f"freeze=: the network has no such layer{KNOWN}"),
        (
            "5",
            "freeze=5: the network has 5 layers; give a number from 1 to 4 (so many from the input on) or from -4 to "
            "-1 (all but so many), or names",
        ),
        ("*", "freeze=*: nothing would be left to train; freeze fewer layers, for example freeze=-1"),
    ],
)
def test_what_cannot_be_frozen(names: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        freeze(small(), names)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("count", ["0", "-5", "9"])
def test_numbers_that_are_none(count: str) -> None:
    with pytest.raises(InputError, match=f"freeze={count}: the network has 5 layers"):
        freeze(small(), count)


def test_frozen_norms_keep_their_statistics_and_use_them() -> None:
    model = small()
    set_training(model, "1")
    first, second = (model.get_submodule(f"blocks.block{k}.norm1") for k in (1, 2))
    before = first.running_mean.clone()
    assert model.training
    model(torch.randn(8, 1, 32, 32))
    assert not first.training
    assert second.training
    assert torch.equal(first.running_mean, before)
    assert not torch.equal(second.running_mean, torch.zeros_like(second.running_mean))
    set_training(model, "")
    assert first.training


def test_a_rate_falls_with_the_layers_to_the_output() -> None:
    model = small()
    optimizer = make_optimizer(OptimizerOptions(layer_decay=0.5, weight_decay=0.1), model)
    set_rate(optimizer, 0.8)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        depth = next(layer.depth for layer in layers_of(model) if any(q is p for q in layer.parameters))
        assert rate[id(p)] == pytest.approx(0.8 * 0.5**depth), name
        assert decay[id(p)] == (0.1 if p.ndim >= 2 else 0.0)
    assert len(rate) == len(list(model.parameters()))


def test_one_step_moves_each_layer_by_its_part_of_the_rate() -> None:
    """Plain descent: a weight moves by the rate times its gradient, so the ratio to a whole rate is the part."""
    steps = []
    for decay in (1.0, 0.5):
        model = small()
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = make_optimizer(OptimizerOptions(momentum=0.0, layer_decay=decay), model)
        set_rate(optimizer, 0.1)
        model(torch.linspace(-1, 1, 4 * 1024).reshape(4, 1, 32, 32)).square().sum().backward()
        optimizer.step()
        steps.append([p.detach() - q for p, q in zip(model.parameters(), before, strict=True)])
    for (name, p), whole, part in zip(model.named_parameters(), *steps, strict=True):
        torch.testing.assert_close(part, rates(model, 0.5)[p] * whole, rtol=1e-3, atol=1e-6, msg=name)


def test_the_table_says_what_is_trained_and_how_fast() -> None:
    model = small()
    freeze(model, "1")
    rows = table(model, 0.5)
    assert rows[0] == {"layer": "blocks.block1", "parameters": 44, "trained": 0, "rate": 0.0625}
    assert rows[-1] == {"layer": "head.classifier", "parameters": 90, "trained": 90, "rate": 1.0}
    assert as_text(rows).splitlines() == [
        "layer                  parameters  trained",
        "blocks.block1                  44  frozen",
        "blocks.block2.conv1           228  rate x 0.125",
        "blocks.block2.conv2           336  rate x 0.25",
        "head.dense1                    56  rate x 0.5",
        "head.classifier                90  rate x 1",
    ]
    with torch.device("meta"):
        deep = table(build("resnet-cifar-110"), 1.0)
    assert len(as_text(deep).splitlines()) == 26
    assert "... 32 more, in run.json ..." in as_text(deep)
