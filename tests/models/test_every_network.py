"""What every network of the catalog does: it trains, is deterministic, takes awkward batches, layouts and types.

Names come from the catalog, so a new network is tested without a line here; only sizes and what is too heavy for the
default suite are written down. What is special about a network is tested in the file of its name.
"""

import copy
import inspect
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as safe_load
from safetensors.torch import save as safe_save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpu_checks import needs_gpu, whole_float32
from striate.models import build, card, names
from striate.models.auxiliary import HasAuxiliaries

CLASSES = 3
# family (the beginning of a name) -> height and width of the smallest pictures worth training on
SIZES = {
    "lenet5": (32, 32),
    "convnet": (12, 10),
    "alexnet": (67, 67),
    "nin-cifar10": (32, 32),
    "nin-imagenet": (99, 99),
    "vgg": (32, 40),
    "googlenet": (64, 80),
    "inception": (107, 107),
    "resnet-cifar": (16, 12),
    "preact-resnet-cifar": (16, 12),
    "resnet": (48, 40),
    "preact-resnet": (48, 40),
    "highway": (32, 32),
    "fcn": (24, 20),
    "deeplab": (41, 34),
    "dilated": (20, 16),
    "deconvnet": (32, 40),
    "deformable": (49, 34),
    "fcn-1d": (20,),
    "resnet-1d": (20,),
}
# built with a fraction of their maps: segmenting takes every pixel through a VGG-16 or a ResNet-101
NARROW = {"fcn": 1 / 16, "deeplab": 1 / 16, "dilated": 1 / 32, "deconvnet": 1 / 16, "deformable": 1 / 16}
# too heavy for the default suite: their smaller siblings stand for them there
HEAVY = (
    "alexnet-single",
    "inception-resnet-v1",
    "inception-v4",
    "preact-resnet-200",
    "preact-resnet-cifar-1001",
    "preact-resnet-cifar-164",
    "resnet-101",
    "resnet-101-v1.5",
    "resnet-152",
    "resnet-152-v1.5",
    "resnet-34",
    "resnet-cifar-1202",
    "vgg-b",
    "vgg-c",
    "vgg-e",
)
# one network of each kind, for what is the same within a family
KINDS = ("lenet5", "convnet", "alexnet", "nin-cifar10", "vgg-a-lrn", "googlenet", "inception-v3", "resnet-18")

# networks that can recompute their blocks: those of which no test of their own says that it changes nothing
RECOMPUTED = ("dilated-frontend", "deformable-deeplab-resnet101", "inception-resnet-v2")

DEEPEST = ("-1001", "-1202")  # a rounding error grows a hundredfold through so many fresh layers

TRAINABLE = [name for name in names() if card(name).task != "unsupervised"]


def family(name: str) -> str:
    """The longest beginning of a name in SIZES."""
    return max((start for start in SIZES if name.startswith(start)), key=len, default="")


def picked(chosen: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in chosen]


def small(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    channels = 1 if name.startswith("lenet") else 2
    if family(name) in NARROW:
        options = {"width": NARROW[family(name)], **options}
    return build(name, classes=CLASSES, channels=channels, size=SIZES.get(family(name), (64, 56)), **options)


def evaluable(name: str) -> nn.Module:
    """A network in evaluation mode; a thousand fresh layers overflow unless their averages have seen a batch."""
    model = small(name)
    if name.endswith(DEEPEST):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(pictures(model, 8))
    return model.eval()


def pictures(model: nn.Module, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *model.input_size, generator=torch.Generator().manual_seed(seed))


def labels_for(name: str, logits: Tensor) -> Tensor:
    shape = (len(logits),) if card(name).task == "classification" else (len(logits), *logits.shape[2:])
    return torch.randint(0, CLASSES, shape, generator=torch.Generator().manual_seed(2))


def training_loss(name: str, model: nn.Module, x: Tensor) -> Tensor:
    """Cross-entropy of all heads, as the training loop adds them up."""
    heads = {"logits": model(x)} if not isinstance(model, HasAuxiliaries) else {}
    if isinstance(model, HasAuxiliaries):
        heads["logits"], auxiliaries = model.forward_auxiliaries(x)
        assert set(auxiliaries) == set(model.auxiliary_weights)
        heads |= auxiliaries
    labels = labels_for(name, heads["logits"]).to(x.device)
    precise = torch.promote_types(x.dtype, torch.float32)
    return torch.stack([cross_entropy(head.to(precise), labels) for head in heads.values()]).sum()


@pytest.mark.parametrize("name", picked(TRAINABLE))
def test_it_trains(name: str) -> None:
    """The loss is finite, every parameter gets a gradient, and a small step along it lowers the loss."""
    model = small(name).train()
    for module in model.modules():  # the same function twice: no chance, no averages of other batches
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    x = pictures(model, 3)
    loss = training_loss(name, model, x)
    assert torch.isfinite(loss)
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt()
    assert norm > 0
    before = [p.detach().clone() for p in model.parameters()]
    for step in (1e-2, 1e-3, 1e-4):  # relative to the gradient's length
        with torch.no_grad():
            for parameter, start in zip(model.parameters(), before, strict=True):
                if parameter.grad is not None:
                    parameter.copy_(start - step / norm * parameter.grad)
            if training_loss(name, model, x) < loss:
                return
    pytest.fail(f"no step along the gradient lowers the loss of {loss.item()}")


def can_recompute(name: str) -> bool:
    module, function = card(name).builder.split(":")
    return "recompute" in inspect.signature(getattr(import_module(module), function)).parameters


def test_all_but_the_shallow_networks_can_recompute() -> None:
    """Those of many layers, where memory for what they compute matters."""
    without = {name for name in TRAINABLE if not can_recompute(name)}
    shallow = {"lenet5", "lenet5-modern", "alexnet", "alexnet-single", "nin-cifar10", "nin-imagenet"}
    assert without == shallow | {"fcn-1d", "resnet-1d"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in RECOMPUTED else pytest.mark.slow)
        for name in TRAINABLE
        if can_recompute(name) and not name.endswith(DEEPEST)
    ],
)
def test_recomputing_blocks_changes_nothing_but_memory(name: str) -> None:
    """The same loss, gradients and statistics, dropout included; far fewer numbers are kept for the backward pass."""
    found = []
    for recompute in (False, True):
        model = small(name, recompute=recompute).train()
        kept: list[int] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(partial(_noted, kept), lambda tensor: tensor)
        torch.manual_seed(3)
        with hooks:
            loss = training_loss(name, model, pictures(model, 3))
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((model, loss, sum(kept)))
    (plain, loss, much), (again, same, little) = found
    assert torch.equal(loss, same)
    assert little < much
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        if one.grad is None or other.grad is None:
            assert one.grad is other.grad, key
        else:
            assert_near(other.grad, one.grad, name)
    for one, other in zip(plain.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(other, one)


def _noted(kept: list[int], tensor: Tensor) -> Tensor:
    kept.append(tensor.numel())
    return tensor


@pytest.mark.parametrize("name", picked(TRAINABLE))
def test_evaluation_is_deterministic_whatever_the_batch(name: str) -> None:
    """Evaluated twice: the same; one picture alone, or none: as in the batch; features end in the logits."""
    model = evaluable(name)
    x = pictures(model, 3)
    with torch.no_grad():
        logits = model(x)
        expected = (3, CLASSES) if card(name).task == "classification" else (3, CLASSES, *x.shape[2:])
        assert logits.shape == expected
        assert torch.equal(model(x), logits)
        assert_near(model(x[1:2]), logits[1:2], name)
        assert model(x[:0]).shape == (0, *expected[1:])
        seen = model.features(x)  # type: ignore[operator]
        assert list(seen)[-1] == "logits"
        assert_near(seen["logits"], logits, name)


def assert_near(found: Tensor, expected: Tensor, name: str, tolerance: float = 1e-4) -> None:
    """Equal up to a part of the largest value: what rounding in another order may do."""
    scale = max(float(expected.abs().max()), 1e-6)
    tolerance *= 100 if name.endswith(DEEPEST) else 1
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", picked(TRAINABLE))
def test_layout_type_and_state(name: str) -> None:
    """Channels last gives the same logits, float64 nearly, bfloat16 roughly; saved and loaded, they stay."""
    model = evaluable(name)
    x = pictures(model, 2)
    with torch.no_grad():
        logits = model(x)
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert_near(last(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x), logits, name)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(x).float()
        assert torch.isfinite(mixed).all()
        assert_near(mixed, logits, name, tolerance=0.2)
    other = evaluable(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    stored = safe_save({key: value.contiguous() for key, value in model.state_dict().items()})
    other.load_state_dict(safe_load(stored))
    with torch.no_grad():
        assert torch.equal(other(x), logits)
        assert_near(model.double()(x.double()).float(), logits, name, tolerance=1e-3)


@needs_gpu
@pytest.mark.parametrize("name", picked(TRAINABLE))
def test_a_gpu_computes_the_same(name: str) -> None:
    """Logits and gradients of float64 equal the processor's; float32 and bfloat16 in channels last nearly."""
    model = evaluable(name).double()
    x = pictures(model, 2).double()
    there = copy.deepcopy(model).to("cuda")
    for network, seen in ((model, x), (there, x.to("cuda"))):
        training_loss(name, network, seen).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad(), whole_float32():
        logits = model(x)
        assert_near(there(x.to("cuda")).cpu(), logits, name, tolerance=1e-8)
        for (key, one), other in zip(model.named_parameters(), there.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None), key
            if one.grad is not None and other.grad is not None:
                assert_near(other.grad.cpu(), one.grad, name, tolerance=1e-7)
        there.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        seen = x.to("cuda", torch.float32)
        seen = seen.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else seen
        assert_near(there(seen).double().cpu(), logits, name, tolerance=1e-3)
        with torch.autocast("cuda", torch.bfloat16):
            mixed = there(seen).double().cpu()
        assert_near(mixed, logits, name, tolerance=0.2)


@pytest.mark.parametrize("name", TRAINABLE)
def test_it_is_built_without_memory(name: str) -> None:
    """On the meta device every network, however large, is built as published in a moment."""
    known = card(name)
    with torch.device("meta"):
        model = build(name, classes=known.classes, channels=known.channels, size=known.size)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.input_size == (known.channels, *known.size)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINABLE if not name.endswith(DEEPEST)])  # hours
def test_exported_and_compiled_it_is_the_same(name: str, tmp_path: Path) -> None:
    """Through torch.compile, and exported to ONNX and computed by ONNX Runtime, the logits stay."""
    model = small(name).eval()
    x = pictures(model, 2)
    with torch.no_grad():
        logits = model(x)
        torch.compiler.reset()
        assert_near(torch.compile(model, backend="aot_eager")(x), logits, name)
    assert_near(through_onnx(model, x, tmp_path), logits, name, tolerance=1e-3)


def through_onnx(model: nn.Module, x: Tensor, folder: Path) -> Tensor:
    """Export with a batch of any size, then compute with ONNX Runtime."""
    import onnxruntime

    file = folder / "model.onnx"
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    torch.onnx.export(model, (x,), file, dynamo=True, dynamic_shapes=batch, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
