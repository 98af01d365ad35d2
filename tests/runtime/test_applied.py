"""Within the block it is so; afterwards everything is as before."""

import contextlib
import subprocess
import sys

import pytest
import torch

from striate import ops
from striate.errors import InputError
from striate.nn import RBF
from striate.ops import _linear
from striate.ops.impl.native import library
from striate.runtime import Precision, Runtime, current

BUILT = library.instruction_set()
needs_kernels = pytest.mark.skipif(BUILT is None, reason="the native extension was not built here")
LAST = torch.channels_last


def images(*shape: int) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
    return values.contiguous(memory_format=LAST)


X, W = images(2, 64, 24, 24), images(64, 64, 3, 3)


def taken(operator: str, *arguments: object, **words: object) -> str:
    verdicts = ops.explain_dispatch(operator, *arguments, **words)
    return next(name for name, verdict in verdicts.items() if verdict == "taken")


def state() -> tuple[object, ...]:
    flags = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, library.instruction_set(), current()
    return *flags, taken("conv", X, W, padding=1), taken("local_response_norm", X)


@needs_kernels
@pytest.mark.parametrize(
    ("precision", "native", "who"),
    [("exact", BUILT, "native"), ("high", BUILT, "native"), ("bf16", BUILT, "aten"), ("high", None, "aten")],
)
def test_every_kernel_is_taken_where_it_pays(precision: Precision, native: str | None, who: str) -> None:
    """Deformable and transposed convolution, pooling, not the 3 x 3 convolution alone; and gradients come along."""
    offset, up, many = images(2, 18, 24, 24), images(64, 2, 16, 16), images(2, 64, 48, 48)
    with Runtime(precision=precision, native=native, threads=1).applied():
        assert taken("deform_conv", X, offset, W, padding=1) == who
        assert taken("conv_transpose", X, up, stride=8) == who
        assert taken("max_pool", many, 3) == ("native" if native in {"avx512", "avx2"} else "aten")
        leaf = X.clone().requires_grad_()
        ops.max_pool(ops.deform_conv(leaf, offset, W, padding=1), 3).sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.abs().sum() > 0)


@needs_kernels
@pytest.mark.parametrize(
    ("precision", "native", "conv", "norm"),
    [
        ("exact", BUILT, "aten", "native"),
        ("high", BUILT, "native", "native"),
        ("bf16", BUILT, "native", "native"),
        ("exact", None, "aten", "aten"),
        ("high", None, "aten", "aten"),
    ],
)
def test_it_holds_within_the_block(precision: str, native: str | None, conv: str, norm: str) -> None:
    before = state()
    runtime = Runtime(precision=precision, native=native, threads=torch.get_num_threads() + 2, keep_memory=True)  # type: ignore[arg-type]
    with contextlib.suppress(ZeroDivisionError), runtime.applied() as same:
        assert same is runtime is current()
        assert state() == (runtime.threads, precision == "bf16" and before[1], BUILT, runtime, conv, norm)
        with Runtime(precision="high", native=BUILT, threads=1).applied():
            assert torch.get_num_threads() == 1
            assert taken("conv", X, W, padding=1) == "native"
        assert torch.get_num_threads() == runtime.threads
        assert taken("conv", X, W, padding=1) == conv
        raise ZeroDivisionError
    assert state() == before


@needs_kernels
def test_the_instruction_set_of_the_record_is_used() -> None:
    for name in library.instruction_sets():
        with Runtime(native=name).applied():
            assert library.instruction_set() == name
    assert library.instruction_set() == BUILT


@needs_kernels
def test_the_contract_of_precision() -> None:
    """Relative to the largest output: float32 within 2e-5 of float64; exact is PyTorch, high the kernel, to the bit."""
    truth = torch.conv2d(X.double(), W.double(), padding=1)

    def computed(precision: str) -> torch.Tensor:
        with Runtime(precision=precision, native=BUILT).applied() as runtime, runtime.autocast():  # type: ignore[arg-type]
            return ops.conv(X, W, padding=1)

    def error(y: torch.Tensor) -> float:
        return float((y.double() - truth).abs().max() / truth.abs().max())

    exact, high, bf16 = (computed(precision) for precision in ("exact", "high", "bf16"))
    assert torch.equal(exact, ops.conv(X, W, padding=1, impl="aten"))
    assert torch.equal(high, ops.conv(X, W, padding=1, impl="native"))
    assert not torch.equal(exact, high)
    assert exact.dtype == high.dtype == torch.float32
    assert error(exact) < 2e-5
    assert error(high) < 2e-5
    assert bf16.dtype == torch.bfloat16
    assert 1e-4 < error(bf16) < 1e-2


def test_bf16_has_float32_weights_gradients_and_distances() -> None:
    runtime = Runtime(precision="bf16")
    layer, output = torch.nn.Linear(64, 84), RBF(torch.ones(10, 84))
    with runtime.applied():
        with runtime.autocast():
            hidden = layer(torch.randn(3, 64))
            distances = output(hidden)
        assert hidden.dtype == torch.bfloat16
        assert layer(torch.randn(3, 64)).dtype == torch.float32, "outside of autocast"
    assert distances.dtype == torch.float32
    expected = (hidden.float()[:, None] - output.centres).square().sum(2)
    torch.testing.assert_close(distances, expected)
    assert output.to("meta")(torch.empty(3, 84, device="meta")).shape == (3, 10), "a device without autocast"
    distances.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_dense_layers_by_onednn() -> None:
    for runtime, asked in ((Runtime(linear="onednn"), True), (Runtime(), False)):
        with runtime.applied():
            assert _linear._asked.get() is asked
    assert _linear._asked.get() is False


def test_layout() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert Runtime(channels_last=True).laid_out(x).is_contiguous(memory_format=LAST)
    assert Runtime().laid_out(x) is x
    flat = torch.randn(2, 3)
    assert Runtime(channels_last=True).laid_out(flat) is flat


def test_what_is_not_here_is_one_sentence() -> None:
    with pytest.raises(InputError) as caught, Runtime(native="avx9000").applied():
        pass
    assert str(caught.value).startswith("runtime: Striate's kernels for avx9000 were asked for and this machine has ")
    assert current() is None


def test_importing_changes_nothing_and_is_light() -> None:
    program = """
import sys, os
before = dict(os.environ)
import striate.runtime
assert "torch" not in sys.modules
import torch
threads = torch.get_num_threads()
striate.runtime.choose()
assert torch.get_num_threads() == threads and dict(os.environ) == before
assert striate.runtime.current() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True)
