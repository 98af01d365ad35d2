"""The C++ kernels: against float64, on every instruction set, with any number of threads; and what they refuse."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import CONTRACT, LAST, POOLING, SETS, compare, error, images, needs_extension, with_gradients
from striate import ops
from striate.errors import InputError
from striate.ops import _dispatch
from striate.ops.impl.native import conv as native_conv
from striate.ops.impl.native import library, winograd
from striate.ops.impl.native import local_response_norm as native_lrn
from striate.ops.impl.native import max_pool as native_pool

pytestmark = needs_extension


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(0, 3),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    channels=st.tuples(st.integers(16, 40), st.integers(16, 70)),
    groups=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same", "full", 1, 3, ((0, 2), (1, 0)), ((-1, 1), (2, 1))]),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 1e-12, 1e12]),
)
def test_convolution(name, batch, size, channels, groups, padding, bias, scale):
    x = images(batch, channels[0] * groups, *size) * scale
    w = images(channels[1] * groups, channels[0], 3, 3, seed=1)
    inputs = [x, w] + ([images(channels[1] * groups, seed=2) * scale] if bias else [])
    words = {"padding": padding, "groups": groups}
    try:
        ops.conv(*inputs, **words)
    except InputError:  # the kernel is larger than the padded input
        return
    with library.use_instruction_set(name):
        if batch:
            compare(lambda *a, impl: ops.conv(*a, **words, impl=impl), inputs)
        else:
            assert torch.equal(ops.conv(*inputs, **words, impl="native"), ops.conv(*inputs, **words, impl="aten"))


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(("inputs", "outputs", "side"), [(64, 64, 28), (200, 48, 14), (512, 320, 7), (320, 512, 9)])
def test_convolution_of_real_sizes(tile, inputs, outputs, side):
    """Few channels in blocks, many in shared phases; F(2, 3) loses fewer digits than F(4, 3)."""
    x, w = images(2, inputs, side, side), images(outputs, inputs, 3, 3, seed=1)
    expected = torch.conv2d(x.double(), w.double(), padding=1)
    y = winograd.conv(x, winograd.pack(w, 1, tile), None, (1, 1, 1, 1))
    assert error(y, expected) <= (1e-5 if tile == 4 else 2e-6)
    grad = torch.ones_like(y)
    found = winograd.grad_weight(x, grad, 1, (1, 1, 1, 1), tile)
    w_ = w.double().requires_grad_()
    torch.conv2d(x.double(), w_, padding=1).backward(grad.double())
    assert error(found, w_.grad) <= (1e-5 if tile == 4 else 2e-6)


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize(
    ("inputs", "outputs", "batch", "side"),
    [(64, 48, 3, 40), (64, 48, 0, 40), (16, 20, 1, 4), (24, 16, 1, 12), (260, 240, 2, 14)],
)
def test_the_gradient_of_weights_in_parts(threads, inputs, outputs, batch, side):
    """No picture, fewer tiles than parts, more threads than parts, many chunks: the same sum, and the same bits."""
    x, grad = images(batch, inputs, side, side), images(batch, outputs, side, side, seed=1)
    w = torch.zeros(outputs, inputs, 3, 3, dtype=torch.float64, requires_grad=True)
    torch.conv2d(x.double(), w, padding=1).backward(grad.double())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = winograd.grad_weight(x, grad, 1, (1, 1, 1, 1), 4)
        torch.set_num_threads(threads)
        found = winograd.grad_weight(x, grad, 1, (1, 1, 1, 1), 4)
    finally:
        torch.set_num_threads(before)
    assert error(found, w.grad) <= 1e-5
    assert torch.equal(found, first)


def test_what_follows_a_convolution_is_fused():
    x, w, b, other = images(2, 20, 6, 5), images(24, 20, 3, 3, seed=1), images(24, seed=2), images(2, 24, 6, 5, seed=3)
    y = winograd.conv(x, winograd.pack(w, 1, 4), b, (1, 1, 1, 1), other=other, relu=True)
    expected = (torch.conv2d(x.double(), w.double(), b.double(), padding=1) + other.double()).relu()
    assert error(y, expected) <= CONTRACT
    assert float(y.min()) == 0.0


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("channels", [1, 3, 16, 33])
def test_local_response_norm(name, size, channels):
    with library.use_instruction_set(name):
        compare(
            lambda x, impl: ops.local_response_norm(x, size=size, alpha=0.3, k=0.7, impl=impl),
            [images(2, channels, 3, 5)],
            bound=2e-6,
        )


def test_local_response_norm_of_bfloat16_is_float32s_rounded():
    x = images(2, 33, 5, 4).bfloat16()
    words = {"size": 5, "alpha": 0.3, "k": 0.7}
    found = with_gradients(lambda x: ops.local_response_norm(x, **words, impl="native"), [x])
    expected = with_gradients(lambda x: ops.local_response_norm(x, **words, impl="native"), [x.float()])
    assert torch.equal(found[0], expected[0].bfloat16())
    assert error(found[1], expected[1].double()) <= 2**-7, "the gradient given is rounded as well"
    assert ops.explain_dispatch("local_response_norm", x)["native"] == "taken"


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=25, deadline=None)
@given(**POOLING, channels=st.sampled_from([1, 5, 16, 19, 64]))
def test_max_pooling(name, kernel, stride, padding, dilation, ceil, size, channels):
    """Equal to PyTorch's to the last bit, ties and NaN included."""
    x = (images(2, channels, *size) * 2).round()  # many equal values
    x[1, 0, 1, 2] = torch.nan
    words = {"stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil}
    try:
        expected = with_gradients(lambda x: ops.max_pool(x, kernel, **words, impl="aten"), [x])
    except InputError:
        return
    with library.use_instruction_set(name):
        found = with_gradients(lambda x: ops.max_pool(x, kernel, **words, impl="native"), [x])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kernel", [2, 3])
def test_max_pooling_of_what_is_not_finite(name, kernel):
    """Infinities, zeros of both signs and NaN anywhere: PyTorch's values and places, with gradients or without."""
    some = torch.tensor([-torch.inf, torch.inf, torch.nan, -0.0, 0.0, 1.0])
    chances = torch.tensor([0.3, 0.2, 0.05, 0.15, 0.15, 0.15])
    drawn = torch.multinomial(
        chances, 2 * 35 * 9 * 9, replacement=True, generator=torch.Generator().manual_seed(kernel)
    )
    x = some[drawn].reshape(2, 35, 9, 9).contiguous(memory_format=LAST)
    expected = with_gradients(lambda x: ops.max_pool(x, kernel, stride=2, impl="aten"), [x])
    with library.use_instruction_set(name):
        found = with_gradients(lambda x: ops.max_pool(x, kernel, stride=2, impl="native"), [x])
        alone = ops.max_pool(x, kernel, stride=2, impl="native")
    torch.testing.assert_close(found[0], expected[0], equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone, expected[0], equal_nan=True, rtol=0, atol=0)
    assert torch.equal(found[0].signbit() & (found[0] == 0), expected[0].signbit() & (expected[0] == 0))


@pytest.mark.parametrize("name", SETS)
def test_local_response_norm_of_huge_values_and_of_nan(name):
    x = images(1, 40, 2, 2)
    x[0, :, 0, 0], x[0, 20, 1, 1] = 1e25, torch.nan
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    with library.use_instruction_set(name):
        y = ops.local_response_norm(leaf, impl="native")
        (grad,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
    near = torch.zeros_like(x, dtype=torch.bool)
    near[0, 18:23, 1, 1] = True
    assert torch.equal(y.isnan(), near)
    assert not grad[0, :, 0].isnan().any()


def each(x, w):
    yield "conv", lambda x, w=w: ops.conv(x, w, padding=1, impl="native")
    yield "local_response_norm", lambda x: ops.local_response_norm(x, impl="native")
    yield "max_pool", lambda x: ops.max_pool(x, 3, stride=2, impl="native")


@pytest.mark.parametrize("index", range(3))
def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit(index):
    x, w = images(5, 16, 14, 11), images(20, 16, 3, 3, seed=1)
    name, call = list(each(x, w))[index]
    inputs = [x, w] if name == "conv" else [x]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = with_gradients(call, inputs)
        first = call(x[3:4])
        torch.set_num_threads(4)
        together = with_gradients(call, inputs)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first, alone[0][3:4])


@pytest.mark.parametrize("index", range(3))
def test_second_derivatives_are_those_of_pytorch(index):
    x, w = images(2, 16, 6, 5), images(16, 16, 3, 3, seed=1)

    def second(x, w, impl):
        call = (
            lambda: ops.conv(x, w, padding=1, impl=impl),
            lambda: ops.local_response_norm(x, alpha=0.5, impl=impl),
            lambda: ops.max_pool(x, 2, impl=impl),
        )[index]
        (first,) = torch.autograd.grad(call().square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    found = second(x.clone(memory_format=torch.preserve_format).requires_grad_(), w, "native")
    expected = second(x.double().requires_grad_(), w.double(), "aten")
    assert error(found, expected) <= CONTRACT


def test_the_operators_are_registered_as_pytorch_wants_them():
    x, w, b = images(2, 16, 6, 5).requires_grad_(), images(16, 16, 3, 3, seed=1).requires_grad_(), images(16, seed=2)
    torch.library.opcheck(native_conv._conv, (x, w, b, [1, 1, 0, 2], 1))
    torch.library.opcheck(native_lrn._lrn, (x, 5, 1e-4, 2.0))
    torch.library.opcheck(native_pool._max_pool, (x, [2, 2, 2, 2, 0, 0, 1, 1], [3, 2], [0, 0], False))


def test_compiled_it_is_the_same():
    x, w = images(2, 16, 6, 5), images(16, 16, 3, 3, seed=1)

    def network(x, w):
        y = ops.local_response_norm(ops.conv(x, w, padding="same", impl="native").relu(), impl="native")
        return ops.max_pool(y, 2, impl="native")

    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for a, b in zip(with_gradients(compiled, [x, w]), with_gradients(network, [x, w]), strict=True):
        assert torch.equal(a, b)


def test_weights_of_any_layout():
    x, w = images(1, 16, 5, 5), images(18, 16, 3, 3, seed=1)
    y = ops.conv(x, w, impl="native")
    assert torch.equal(ops.conv(x, w.contiguous(), impl="native"), y)
    assert torch.equal(ops.conv(x, w.transpose(0, 1).contiguous().transpose(0, 1), impl="native"), y)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda x, w: ops.conv(x.contiguous(), w, impl="native"), "a memory layout other than channels last"),
        (lambda x, w: ops.conv(x, w, stride=2, impl="native"), "windows other than 3 x 3 of stride 1"),
        (lambda x, w: ops.conv(x, w, flip=True, impl="native"), "turned kernels"),
        (lambda x, w: ops.conv(x[:, :3], w[:, :3], impl="native"), "memory layout|fewer than 16 channels"),
        (lambda x, w: ops.conv(x.double(), w.double(), impl="native"), "torch.float64 on cpu, only torch.float32"),
        (lambda x, w: ops.local_response_norm(x, beta=0.5, impl="native"), "beta=0.5, only 0.75"),
        (lambda x, w: ops.local_response_norm(x, k=0.0, impl="native"), "k=0"),
        (lambda x, w: ops.max_pool(x, 2, return_switches=True, impl="native"), "switches"),
        (lambda x, w: torch.func.vmap(lambda x: ops.local_response_norm(x, impl="native"))(x[None]), "torch.func"),
    ],
)
def test_what_is_refused_is_said(call, reason):
    with pytest.raises(InputError, match=f"'native' does not support .*({reason})"):
        call(images(2, 16, 6, 5), images(16, 16, 3, 3, seed=1))


def test_forward_mode_derivatives_are_left_to_pytorch():
    x = images(2, 16, 3, 3)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert ops.explain_dispatch("local_response_norm", dual)["native"] == "passed over: forward-mode derivatives"
        assert torch.autograd.forward_ad.unpack_dual(ops.local_response_norm(dual)).tangent is not None


def test_without_the_extension_it_says_why(monkeypatch):
    monkeypatch.setattr(library, "_built", lambda: False)
    verdicts = ops.explain_dispatch("local_response_norm", images(1, 16, 3, 3))
    assert verdicts["native"].startswith("passed over: anything here: the native extension was not built")
    assert verdicts["aten"] == "taken"


def test_the_threads_are_those_of_pytorch():
    """The OpenMP runtime that PyTorch loaded is found, and no second one is in the process."""
    maps = library.Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc here: the kernels run on one thread")
    ops.local_response_norm(images(1, 16, 3, 3), impl="native")
    names = ("libgomp", "libiomp", "libomp")
    loaded = {line.split()[-1] for line in maps.read_text().splitlines() if any(name in line for name in names)}
    inside = {path for path in loaded if "torch" in path}
    assert library.openmp_runtime() in loaded
    assert not inside or library.openmp_runtime() in inside


def test_the_first_choice_of_every_row_is_known():
    """Kernels that win everywhere stand before PyTorch; the others wait behind it until they are asked for."""
    first = {operator for operator, row in _dispatch.TABLE.items() if next(iter(row)) == "native"}
    assert first == {"local_response_norm", "scaled_tanh"}
    having = {operator for operator, row in _dispatch.TABLE.items() if "native" in row}
    assert having == {"conv", "conv_transpose", "deform_conv", "local_response_norm", "max_pool", "scaled_tanh"}


def test_unknown_instruction_set():
    with pytest.raises(InputError, match="unknown instruction set 'avx3'"), library.use_instruction_set("avx3"):
        pass


def test_the_sets_differ_in_nothing_but_rounding():
    x, w = images(2, 20, 9, 7), images(37, 20, 3, 3, seed=1)
    results = []
    for name in SETS:
        with library.use_instruction_set(name):
            assert library.instruction_set() == name
            results.append(ops.conv(x, w, impl="native"))
    for a, b in itertools.pairwise(results):
        assert error(a, b.double()) <= 5e-6


def test_preferred_it_computes_where_it_pays():
    """Few channels or few positions are left to PyTorch, by measurement; asked for by name it computes them."""
    many, few = images(1, 64, 32, 32), images(1, 64, 31, 32)
    w = images(64, 64, 3, 3, seed=1)
    with ops.prefer(conv="native"):
        verdicts = [ops.explain_dispatch("conv", x, w, padding=1)["native"] for x in (many, few)]
        assert verdicts == ["taken", "passed over: fewer than 1024 positions in the batch, where it is not faster"]
        thin = ops.explain_dispatch("conv", many[:, :32].contiguous(memory_format=LAST), w[:, :32], padding=1)
        assert thin["native"] == "passed over: fewer than 48 channels in or out of a group, where it is not faster"
        assert torch.equal(ops.conv(few, w, padding=1), ops.conv(few, w, padding=1, impl="aten"))
        assert torch.equal(ops.conv(many, w, padding=1), ops.conv(many, w, padding=1, impl="native"))
        assert ops.explain_dispatch("conv", many.double(), w.double(), padding=1)["aten"] == "taken"


@pytest.mark.parametrize("name", library.instruction_sets())
def test_preferred_pooling_computes_where_it_pays(name):
    """Small windows of many values, of which it needs more for gradients; asked for by name it computes all."""
    x, few = images(1, 16, 64, 64), images(1, 16, 63, 64)
    thin, wanted = images(1, 15, 80, 80), x.clone(memory_format=LAST).requires_grad_()
    enough = images(8, 32, 64, 64).requires_grad_()
    with library.use_instruction_set(name), ops.prefer(max_pool="native"):
        found = [ops.explain_dispatch("max_pool", x, 3)["native"] for x in (x, few, thin, wanted, enough)]
        large = ops.explain_dispatch("max_pool", x, 4)["native"]
        with torch.no_grad():
            assert ops.explain_dispatch("max_pool", wanted, 3)["native"] == found[0]
    if name == "plain":
        assert {*found, large} == {"passed over: processors without AVX2, with which it was not measured"}
        return
    slow, least = "passed over: fewer than", 2**19 if name == "avx512" else 2**20
    end = "where it is not faster"
    assert found[:2] == ["taken", f"{slow} 65536 values of the input, {end}"]
    assert found[2] == f"{slow} 16 channels, {end}"
    assert found[3:] == [f"{slow} {least} values of the input, {end}", "taken"]
    assert large == f"passed over: windows of more than 9 positions, {end}"
