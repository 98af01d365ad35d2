"""Winograd convolution with products of bfloat16 in training: under autocast, beside plain bfloat16 and float64."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from kernel_checks import LAST, SETS, images, needs_extension, with_gradients
from striate import ops
from striate.errors import InputError
from striate.models import build
from striate.ops.impl.native import conv as native
from striate.ops.impl.native import library
from striate.runtime import Runtime

pytestmark = [
    needs_extension,
    pytest.mark.skipif(not library.multiplies_bf16(), reason="no products of bfloat16 here (AVX512_BF16)"),
]
WORDS = {"padding": 1}


@pytest.fixture
def without_tiles(monkeypatch):
    """A processor that leaves these convolutions to us."""
    monkeypatch.setattr(native, "has_matrix_tiles", lambda: False)


def by(impl, x, w, b, **words):
    with torch.autocast("cpu", torch.bfloat16):
        return ops.conv(x, w, b, **words, impl=impl)


def off(found, exact):
    """The root mean square of the errors, relative to that of the values."""
    assert found.shape == exact.shape
    return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize(
    ("shape", "outputs", "words"),
    [
        ((3, 64, 13, 10), 48, WORDS),
        ((2, 48, 9, 9), 71, {"padding": (0, 2)}),
        ((3, 40, 9, 6), 50, {"padding": ((0, 1), (2, 1))}),
        ((1, 16, 4, 2), 16, WORDS),
        ((2, 33, 8, 11), 16, {}),
        ((2, 96, 7, 5), 64, {"padding": 1, "groups": 2}),
        ((1, 300, 6, 6), 280, WORDS),
    ],
)
def test_values_and_gradients(shape, outputs, words):
    """Within a few roundings of float64: the values and gradients four and a half times plain bfloat16's at most."""
    w = images(outputs, shape[1] // words.get("groups", 1), 3, 3, seed=1)
    operands = (images(*shape), w, images(outputs, seed=2))
    exact = with_gradients(lambda *a: ops.conv(*a, **words), [a.double() for a in operands])
    plain = with_gradients(partial(by, "aten", **words), operands)
    found = with_gradients(partial(by, "native", **words), operands)
    assert found[0].dtype == torch.bfloat16
    assert found[0].is_contiguous(memory_format=LAST)
    for index, (ours, theirs, true) in enumerate(zip(found, plain, exact, strict=True)):
        assert ours.dtype == theirs.dtype
        assert off(ours, true) < 4.5 * off(theirs, true) < 0.02, index


def test_what_is_of_bfloat16_already_stays_so():
    """Images, weights and bias of a network that was turned into one of bfloat16, without autocast."""
    operands = [a.bfloat16() for a in (images(2, 48, 9, 9), images(48, 48, 3, 3, seed=1), images(48, seed=2))]
    found = with_gradients(lambda *a: ops.conv(*a, **WORDS, impl="native"), operands)
    exact = with_gradients(lambda *a: ops.conv(*a, **WORDS), [a.double() for a in operands])
    for ours, true in zip(found, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert off(ours, true) < 0.015


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches_and_other_layouts(batch):
    x, w = images(batch, 16, 6, 7), images(16, 16, 3, 3, seed=1)
    found = with_gradients(partial(by, "native", b=None, **WORDS), (x, w))
    assert found[0].shape == x.shape
    if batch == 0:
        assert all(not grad.any() for grad in found[1:])
    leaf = x.requires_grad_()
    y = by("native", leaf, w.contiguous(), None, **WORDS)
    assert torch.equal(y, found[0])
    (grad,) = torch.autograd.grad(y, leaf, torch.ones((*y.shape[:2], 1, 1), dtype=y.dtype).expand(y.shape))
    assert grad.shape == x.shape


def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit():
    x, w, b = images(5, 150, 14, 11), images(160, 150, 3, 3, seed=1), images(160, seed=2)
    before, call = torch.get_num_threads(), partial(by, "native", **WORDS)
    try:
        torch.set_num_threads(1)
        alone, part = with_gradients(call, (x, w, b)), call(x[2:3], w, b)
        torch.set_num_threads(4)
        together = with_gradients(call, (x, w, b))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(alone[0][2:3], part)


def test_the_operators_are_what_pytorch_expects():
    x, w, b = images(2, 16, 6, 7).bfloat16(), images(20, 16, 3, 3, seed=1), images(20, seed=2)
    leaves = tuple(a.requires_grad_() for a in (x, w, b))
    names = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(native._conv_bf16, (*leaves, [1, 1, 0, 0], 1), test_utils=names)
    grad = images(2, 20, 6, 7).bfloat16()
    torch.library.opcheck(native._grad_input_bf16, (grad, w.detach(), [1, 1, 1, 1], 1))
    torch.library.opcheck(native._grad_weight_bf16, (x.detach(), grad, [1, 1, 1, 1], 1))


def test_compiled_it_is_the_same(without_tiles):
    """In one graph, within a run's block and under autocast."""
    x, w, b = images(4, 48, 18, 18), images(48, 48, 3, 3, seed=1), images(48, seed=2)

    def call(x, w, b):
        with torch.autocast("cpu", torch.bfloat16):
            return ops.conv(x, w, b, **WORDS).relu()

    with Runtime(precision="bf16", threads=1, native="avx512").applied():
        torch.compiler.reset()
        compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
        found = with_gradients(compiled, (x, w, b))
        expected = with_gradients(call, (x, w, b))
        said = ops.explain_dispatch("conv", x.bfloat16(), w.bfloat16(), **WORDS)
    assert said["native"] == "taken"
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_can_be_differentiated_again():
    x, w = images(1, 16, 5, 5).requires_grad_(), images(16, 16, 3, 3, seed=1)
    results = []
    for impl in ("native", "aten"):
        (first,) = torch.autograd.grad(by(impl, x, w, None).float().square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), x)[0])
    assert off(results[0], results[1].double()) < 0.03


def test_it_is_taken_where_it_pays(without_tiles):
    """In a run whose products are of bfloat16: from 48 channels and 1024 positions on."""

    def taken(x, w, **words):
        return next(name for name, said in ops.explain_dispatch("conv", x, w, **words).items() if said == "taken")

    x, w = images(2, 48, 24, 24), images(48, 48, 3, 3)
    with Runtime(precision="bf16", threads=1, native="avx512").applied(), torch.autocast("cpu", torch.bfloat16):
        assert taken(x, w, **WORDS) == "native"
        assert taken(x.bfloat16(), w, **WORDS) == "native"
        assert taken(x[:1], w, **WORDS) == "aten", "few positions"
        assert taken(x[:, :32], w[:32, :32]) == "aten", "few channels"
        assert taken(x, w[:, :4], groups=12) == "aten", "small groups"
    with Runtime(precision="bf16", threads=1, native="avx2").applied(), torch.autocast("cpu", torch.bfloat16):
        assert taken(x, w, **WORDS) == "aten"


def test_tiles_are_left_to_onednn(monkeypatch):
    monkeypatch.setattr(native, "has_matrix_tiles", lambda: True)
    said = ops.explain_dispatch("conv", images(2, 48, 24, 24).bfloat16(), images(48, 48, 3, 3).bfloat16(), **WORDS)
    assert said["aten"] == "taken"
    with ops.prefer(conv="native"):
        said = ops.explain_dispatch("conv", images(2, 48, 24, 24).bfloat16(), images(48, 48, 3, 3).bfloat16(), **WORDS)
    assert said["native"].startswith("passed over: the processor multiplies tiles of bfloat16 (AMX)")


def test_what_is_refused_is_said():
    x, w = images(1, 16, 9, 9).bfloat16(), images(16, 16, 3, 3).bfloat16()
    for name in set(SETS) - {"avx512"}:
        with library.use_instruction_set(name), pytest.raises(InputError, match=f"the instruction set {name}: they"):
            ops.conv(x, w, impl="native")


def test_a_network_trains_as_with_plain_bfloat16(without_tiles):
    """The gradients of a whole step differ from float64's by little more than plain bfloat16's."""
    torch.manual_seed(0)
    model = build("convnet", channels=3, size=(32, 32), blocks=[[2, 64, 1], [2, 64, 1]], norm="batch").train()
    model = model.to(memory_format=LAST)
    x, labels = images(8, 3, 32, 32), torch.arange(8)

    def gradients(runtime, cast):
        model.zero_grad()
        with runtime.applied(), torch.autocast("cpu", torch.bfloat16, enabled=cast):
            logits = model(x if cast else x.double())
        torch.nn.functional.cross_entropy(logits.double(), labels).backward()
        return torch.cat([p.grad.double().flatten() for p in model.parameters()])

    ours = gradients(Runtime(precision="bf16", threads=1, native="avx512"), True)
    plain = gradients(Runtime(precision="bf16", threads=1), True)
    model.double()
    exact = gradients(Runtime(threads=1), False)
    assert not torch.equal(ours, plain)
    assert off(ours, exact) < 1.5 * off(plain, exact)
    assert_close(ours, plain, rtol=0, atol=float(0.1 * exact.abs().max()))
