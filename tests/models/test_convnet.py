"""The typical network of figure 5.9: N blocks of M convolutions and b poolings, then K dense layers."""

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.models import build, card
from striate.nn import Conv, MaxPool


def kinds(model: nn.Module) -> list[str]:
    """The layers of figure 5.9 in their order."""
    letters = {Conv: "conv", MaxPool: "pool", nn.Linear: "dense"}
    return [letters[type(m)] for m in model.modules() if type(m) in letters]


@pytest.mark.parametrize(
    ("blocks", "dense", "expected"),
    [
        ([[2, 4, 1], [3, 8, 0]], [], "conv conv pool conv conv conv dense"),
        ([[1, 4, 2]], [16, 8], "conv pool pool dense dense dense"),
        ([[5, 4, 0]], [16], "conv conv conv conv conv dense dense"),
    ],
)
def test_the_layers_are_those_asked_for(blocks: list[list[int]], dense: list[int], expected: str) -> None:
    model = build("convnet", size=(12, 10), blocks=blocks, dense=dense, pool="flatten")
    assert " ".join(kinds(model)) == expected
    assert model(torch.randn(2, 1, 12, 10)).shape == (2, 10)


def test_parameters_by_hand() -> None:
    """P x D x m x n + P for each convolution, two per map of batch norm, in x out + out for each dense layer."""
    model = build(
        "convnet",
        channels=3,
        classes=7,
        size=(9, 8),
        blocks=[[2, 4, 1], [1, 6, 1]],
        dense=[5],
        pool="flatten",
        norm="none",
    )
    convolutions = (4 * 3 * 9 + 4) + (4 * 4 * 9 + 4) + (6 * 4 * 9 + 6)
    dense = (6 * 2 * 2 * 5 + 5) + (5 * 7 + 7)
    assert sum(p.numel() for p in model.parameters()) == convolutions + dense
    normed = build(
        "convnet", channels=3, classes=7, size=(9, 8), blocks=[[2, 4, 1], [1, 6, 1]], dense=[5], pool="flatten"
    )
    assert sum(p.numel() for p in normed.parameters()) == convolutions + dense - (4 + 4 + 6) + 2 * (4 + 4 + 6)


def test_equal_to_plain_pytorch() -> None:
    ours = build("convnet", size=(8, 8), blocks=[[1, 4, 1]], norm="none", pool="flatten").eval()
    conv, dense = ours.get_submodule("blocks.block1.conv1"), ours.get_submodule("head.classifier")
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    plain[0].load_state_dict(conv.state_dict())
    plain[4].load_state_dict(dense.state_dict())
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": (4, 4), "blocks": [[1, 4, 3]]}, "convnet: after block 1 nothing is left of 4 x 4; use fewer pools"),
        (
            {"blocks": [[1, 4]] * 0 + [[0, 4, 1]]},
            "convnet: a block needs at least 1 convolution, 1 map and 0 pools, got (0, 4, 1)",
        ),
        ({"blocks": [3]}, "convnet: a block is (convolutions, maps, pools), got 3"),
        (
            {"norm": "layer"},
            "convnet: norm is 'batch' or 'none' and pool is 'flatten' or 'average', got 'layer' and 'average'",
        ),
        ({"blocks": 3}, "convnet: blocks must be a list, got 3"),
        (
            {"blocks": [[1, "a", 1]]},
            "convnet: a block needs at least 1 convolution, 1 map and 0 pools, got (1, 'a', 1)",
        ),
        ({"dense": "abc"}, "convnet: dense must be a list, got 'abc'"),
        ({"dense": [0]}, "convnet: dense must be a list of widths of 1 or more, such as [128], got [0]"),
        ({"dropout": "x"}, "convnet: dropout must be at least 0 and below 1, got 'x'"),
        ({"dropout": 1.0}, "convnet: dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_wrong_options(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build("convnet", **options)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", ["convnet", "lenet5", "lenet5-modern"])
def test_every_model_has_a_card_and_trains_a_step(name: str) -> None:
    about = card(name)
    assert about.name == name
    assert about.title
    assert about.paper
    model = build(name)
    channels, height, width = model.input_size
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = nn.functional.cross_entropy(model(torch.randn(4, channels, height, width)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_layers_outputs_by_name() -> None:
    """Those of the modules, ReLU included: what is seen of a dense layer is what the next one gets."""
    model = build("convnet", size=(8, 6), blocks=[[1, 4, 1], [1, 6, 0]], dense=[5], dropout=0.2).eval()
    x = torch.randn(2, 1, 8, 6)
    seen = model.features(x)
    assert list(seen) == ["block1", "block2", "average", "flatten", "dense1", "dropout", "classifier", "logits"]
    first = model.get_submodule("blocks.block1")(x)
    torch.testing.assert_close(seen["block1"], first)
    second = model.get_submodule("blocks.block2")(first)
    hidden = model.get_submodule("head.dense1")(second.mean((2, 3))).relu()
    torch.testing.assert_close(seen["dense1"], hidden)
    torch.testing.assert_close(seen["logits"], model(x))


def test_recomputed_blocks_have_the_same_gradients_and_statistics() -> None:
    plain, again = (build("convnet", size=(8, 8), blocks=[[2, 4, 1], [1, 6, 0]], recompute=r) for r in (False, True))
    again.load_state_dict(plain.state_dict())
    x = torch.randn(4, 1, 8, 8)
    for model in (plain, again):
        model.train()(x).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    for (name, one), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    kept: list[int] = []
    for model in (plain, again):
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            model(x)
        kept.append(sum(saved))
    assert kept[1] < kept[0] / 2, "what leads to a block's output is not kept"
    with pytest.raises(InputError, match="convnet: recompute must be true or false, got 1"):
        build("convnet", recompute=1)
