"""The C++ kernels against PyTorch's, operator by operator, forward and with gradients.

    python benchmarks/native_kernels.py --write docs/performance.md

Both ways are called in turn, so that a spell of a busy machine falls on both; medians of wall time. Freed memory is
kept (`striate.runtime.memory_kept`), as in training: else both ways would wait for pages from the system, which says
nothing of kernels. Images are channels last, the layout in which PyTorch is fastest. A ratio above 1 says how many
times faster the kernel is. How a processor with AVX2 only would fare, as far as one with more can tell:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/native_kernels.py --instruction-set avx2

Convolutions of bfloat16 and packed ones are beside oneDNN's with weights packed once, as prepared networks compute
them. What limits those of bfloat16 is the processor: one that multiplies tiles (AMX) is faster the direct way, and
these tiles are what the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 keeps oneDNN from. How many products
of bfloat16 a cycle AVX512_BF16 makes, beside those of float32, is another matter of the processor.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from sections import machine, markdown_table, versions, write_record, write_section
from torch import Tensor

from striate import ops
from striate.ops.impl.native import conv as native
from striate.ops.impl.native import library
from striate.runtime import can_keep, memory_kept

SECONDS = 0.35  # for each row, once both ways are warm
LENET = [[(d - p) % 6 < 3 + p // 6 for d in range(6)] for p in range(12)]  # LeCun et al. 1998, table I
LENET += [[(d - p) % 6 in {0, 1, 3, 4} for d in range(6)] for p in range(3)] + [[True] * 6]


class Case(NamedTuple):
    """One operator on one set of operands."""

    operator: str
    title: str
    call: Callable[..., Tensor]  # of the operands, and impl
    operands: tuple[Tensor, ...]
    gradients: bool = True


class Row(NamedTuple):
    """What was measured: milliseconds."""

    operator: str
    case: str
    passes: str
    native: float
    pytorch: float

    @property
    def ratio(self) -> float:
        """How many times faster the kernel is."""
        return self.pytorch / self.native


def images(*size: int) -> Tensor:
    """Normal numbers in channels last."""
    return torch.randn(size).contiguous(memory_format=torch.channels_last)


def convolutions() -> Iterator[Case]:
    """3 x 3: Winograd, then small groups and depthwise; LeNet-5's link table."""
    for inputs, outputs, side, batch in ((64, 64, 56, 4), (128, 128, 28, 4), (256, 256, 14, 8), (512, 512, 7, 16)):
        operands = (images(batch, inputs, side, side), images(outputs, inputs, 3, 3))
        title = f"{inputs} to {outputs} channels, {side} x {side}"
        yield Case("conv", title, lambda x, w, impl: ops.conv(x, w, padding=1, impl=impl), operands)
    for channels, group, side, stride, batch in (
        (64, 1, 56, 1, 4),
        (128, 1, 28, 1, 8),
        (512, 1, 14, 1, 8),
        (64, 1, 56, 2, 4),
        (256, 2, 28, 1, 4),
        (128, 4, 56, 1, 4),
        (256, 8, 28, 1, 4),
        (256, 8, 56, 2, 4),
    ):
        operands = (images(batch, channels, side, side), images(channels, group, 3, 3))
        title = f"{channels} channels in groups of {group}, {side} x {side}, stride {stride}"

        def grouped(
            x: Tensor, w: Tensor, impl: str, *, stride: int = stride, groups: int = channels // group
        ) -> Tensor:
            return ops.conv(x, w, stride=stride, padding=1, groups=groups, impl=impl)

        yield Case("conv", title, grouped, operands)
    links = ops.link_rows(LENET)
    for batch in (16, 128):
        operands = (images(batch, 6, 14, 14), torch.randn(60, 5, 5))
        yield Case(
            "conv",
            f"link table of LeNet-5, batch {batch}",
            lambda x, w, impl: ops.conv(x, w, links=links, impl=impl),
            operands,
        )


def prepared() -> Iterator[Case]:
    """3 x 3 in bfloat16, weights packed once, a ReLU: products of float32, and of bfloat16 where there are any."""
    ways: tuple[native.Way, ...] = ("f32", "2x2", "4x2", "4x4") if library.multiplies_bf16() else ("f32",)
    for inputs, outputs, side, batch in ((64, 64, 56, 4), (128, 128, 28, 4), (256, 256, 14, 8), (512, 512, 7, 16)):
        w, b = torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
        for way in ways:
            by = {
                impl: ops.PackedConv(w, b, {"padding": 1}, relu=True, precision="bf16", way=how)
                for impl, how in (("native", way), ("aten", "onednn"))
            }
            title = f"{inputs} to {outputs} channels, {side} x {side}, {way}"
            operands = (images(batch, inputs, side, side).bfloat16(),)
            yield Case("conv, bf16", title, lambda x, impl, by=by: by[impl](x), operands, gradients=False)


def direct() -> Iterator[Case]:
    """The other convolutions of a prepared network, and its dense layers, which PyTorch computes with F.linear."""
    precisions = {"high": "", "bf16": ", bf16"} if library.multiplies_bf16() else {"high": ""}
    for precision, suffix in precisions.items():
        dtype = torch.bfloat16 if suffix else torch.float32
        for inputs, outputs, kernel, stride, side, batch in (
            (64, 256, 1, 1, 56, 1),
            (256, 1024, 1, 1, 14, 1),
            (2048, 512, 1, 1, 7, 1),
            (128, 256, 3, 2, 28, 1),
            (64, 256, 1, 1, 56, 16),
            (256, 1024, 1, 1, 14, 16),
            (128, 256, 3, 2, 28, 16),
        ):
            w, b = torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs)
            words = {"padding": kernel // 2, "stride": stride}
            convs = {
                impl: ops.PackedConv(w, b, words, relu=True, precision=precision, way=how)
                for impl, how in (("native", "direct"), ("aten", "onednn"))
            }
            title = (
                f"{kernel} x {kernel}, stride {stride}, {inputs} to {outputs} channels, {side} x {side}, batch {batch}"
            )
            operands = (images(batch, inputs, side, side).to(dtype),)
            yield Case("packed conv" + suffix, title, lambda x, impl, by=convs: by[impl](x), operands, gradients=False)
        for batch, inputs, outputs in ((1, 2048, 1000), (1, 4096, 4096), (16, 4096, 4096)):
            w, b = torch.randn(outputs, inputs), torch.randn(outputs)
            packed = ops.PackedLinear(w, b, precision=precision)

            def dense(x: Tensor, w: Tensor, b: Tensor, impl: str, *, packed: ops.PackedLinear = packed) -> Tensor:
                return packed(x) if impl == "native" else torch.nn.functional.linear(x, w, b)

            operands = (torch.randn(batch, inputs).to(dtype), w.to(dtype), b.to(dtype))
            yield Case(
                "packed linear" + suffix, f"{inputs} to {outputs}, batch {batch}", dense, operands, gradients=False
            )


def transposed() -> Iterator[Case]:
    """FCN's upsampling of 21 classes, dense and by one kernel for each class."""
    for side, kernel, stride, groups in (
        (10, 64, 32, 1),
        (10, 64, 32, 21),
        (30, 16, 8, 1),
        (30, 16, 8, 21),
        (16, 4, 2, 1),
    ):
        operands = (images(1, 21, side, side), images(21, 21 // groups, kernel, kernel))
        title = f"{kernel} x {kernel}, stride {stride}, {'dense' if groups == 1 else 'per channel'}"

        def upsample(x: Tensor, w: Tensor, impl: str, *, stride: int = stride, groups: int = groups) -> Tensor:
            return ops.conv_transpose(x, w, stride=stride, groups=groups, impl=impl)

        yield Case("conv_transpose", title, upsample, operands)


def deformable() -> Iterator[Case]:
    """Modulated 3 x 3 kernels, offsets of about a pixel."""
    for channels, side, batch in ((64, 56, 8), (64, 28, 4), (256, 14, 4), (512, 7, 8)):
        places = (images(batch, 18, side, side), images(batch, 9, side, side).sigmoid())
        operands = (images(batch, channels, side, side), places[0], images(channels, channels, 3, 3), places[1])

        def deform(x: Tensor, offset: Tensor, w: Tensor, mask: Tensor, impl: str) -> Tensor:
            return ops.deform_conv(x, offset, w, mask=mask, padding=1, impl=impl)

        yield Case("deform_conv", f"{channels} channels, {side} x {side}", deform, operands)
        if side == 56:

            def beside_grid_sample(x: Tensor, offset: Tensor, w: Tensor, mask: Tensor, impl: str) -> Tensor:
                return (by_grid_sample if impl == "aten" else deform)(x, offset, w, mask, impl)

            yield Case(
                "deform_conv", f"{channels} channels, {side} x {side}, grid_sample", beside_grid_sample, operands
            )


def by_grid_sample(x: Tensor, offset: Tensor, w: Tensor, mask: Tensor, _: str = "") -> Tensor:
    """Modulated deformable convolution as people write it: a sampling and a 1 x 1 convolution for each of 3 x 3 places.

    Padding of 1; offsets are y before x.
    """
    height, width = x.shape[2:]
    rows, columns = torch.arange(float(height)), torch.arange(float(width))
    y = x.new_zeros(x.shape[0], w.shape[0], height, width)
    for k in range(9):
        row = rows[:, None] - 1 + k // 3 + offset[:, 2 * k]
        column = columns - 1 + k % 3 + offset[:, 2 * k + 1]
        grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
        samples = torch.nn.functional.grid_sample(x, grid, align_corners=False) * mask[:, k : k + 1]
        y = y + torch.conv2d(samples, w[:, :, k // 3, k % 3, None, None])
    return y


def others() -> Iterator[Case]:
    """Pooling, normalisation, activation, of sizes in AlexNet, GoogLeNet, ResNet, VGG and LeNet-5."""
    for channels, side, batch, words in (
        (96, 55, 4, {"kernel": 3, "stride": 2}),
        (256, 27, 8, {"kernel": 3, "stride": 2}),
        (64, 112, 4, {"kernel": 3, "stride": 2, "padding": 1}),
        (64, 112, 16, {"kernel": 3, "stride": 2, "padding": 1}),
        (192, 28, 8, {"kernel": 3, "stride": 1, "padding": 1}),
        (64, 224, 2, {"kernel": 2, "stride": 2}),
        (64, 56, 4, {"kernel": 2, "stride": 2}),
        (512, 14, 8, {"kernel": 2, "stride": 2}),
        (6, 28, 128, {"kernel": 2, "stride": 2}),
    ):
        x = images(batch, channels, side, side)
        size = f"{words['kernel']} x {words['kernel']}"
        title = f"{size}, stride {words['stride']}, {channels} channels, {side} x {side}, batch {batch}"

        def pool(x: Tensor, impl: str, *, words: dict[str, Any] = words) -> Tensor:
            return ops.max_pool(x, **words, impl=impl)

        yield Case("max_pool", title, pool, (x,))
        if channels >= 32:
            yield Case("max_pool, bf16", title, pool, (x.bfloat16(),))
    for elements in (2**13, 2**15, 128 * 6 * 28 * 28, 2**20, 2**22):
        operands = (torch.randn(elements),)
        yield Case("scaled_tanh", f"{elements} elements", lambda x, impl: ops.scaled_tanh(x, impl=impl), operands)
    for channels, side, batch in ((96, 55, 4), (96, 55, 16), (96, 27, 16), (256, 27, 16)):
        title, x = f"{channels} channels, {side} x {side}, batch {batch}", images(batch, channels, side, side)
        yield Case("local_response_norm", title, lambda x, impl: ops.local_response_norm(x, impl=impl), (x,))


def cases() -> Iterator[Case]:
    """Every row's operator and operands."""
    yield from convolutions()
    yield from prepared()
    yield from direct()
    yield from transposed()
    yield from deformable()
    yield from others()


def forward(case: Case, impl: str) -> Callable[[], object]:
    """Return the forward pass alone."""

    def run() -> object:
        with torch.no_grad():
            return case.call(*case.operands, impl=impl)

    return run


def with_gradients(case: Case, impl: str) -> Callable[[], object]:
    """Return the forward pass and the gradients of all operands."""
    leaves = [x.detach().requires_grad_() for x in case.operands]
    grad = torch.ones_like(case.call(*leaves, impl=impl))
    return lambda: torch.autograd.grad(case.call(*leaves, impl=impl), leaves, grad)


def milliseconds(*runs: Callable[[], object]) -> list[float]:
    """Call the runs in turn until the time is over and return the median of each."""
    for run in runs * 2:
        run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + SECONDS
    while len(times[0]) < 3 or time.perf_counter() < end:
        for taken, run in zip(times, runs, strict=True):
            begin = time.perf_counter()
            run()
            taken.append((time.perf_counter() - begin) * 1e3)
    return [median(taken) for taken in times]


def measure(only: str) -> list[Row]:
    """Measure the cases whose operator or title has the word."""
    rows = []
    for case in cases():
        if only not in f"{case.operator} {case.title}":
            continue
        ways = (("forward", forward), ("with gradients", with_gradients))
        for passes, way in ways if case.gradients else ways[:1]:
            native, pytorch = milliseconds(way(case, "native"), way(case, "aten"))
            rows.append(Row(case.operator, case.title, passes, native, pytorch))
    return rows


def main() -> None:
    """Measure, print the table, perhaps write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch and of the kernels")
    sets = library.instruction_sets()
    parser.add_argument("--instruction-set", choices=sets, help="of the kernels; default: the processor's best")
    parser.add_argument("--only", default="", help="a word that the operator or the case must have")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    options = parser.parse_args()
    if library.library() is None:
        raise SystemExit("the native extension was not built: a C++ compiler is needed when Striate is installed")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with library.use_instruction_set(options.instruction_set or sets[0]), memory_kept():
        report(measure(options.only), options)


def report(rows: list[Row], options: argparse.Namespace) -> None:
    """Print the table, write what was asked for."""
    head = ["operator", "case", "passes", "native ms", "PyTorch ms", "ratio"]
    cells = [[*row[:3], f"{row.native:.2f}", f"{row.pytorch:.2f}", f"{row.ratio:.2f}"] for row in rows]
    memory = "freed memory is kept" if can_keep() else "freed memory goes back to the system"
    where = f"{machine()}; {versions('torch')}; kernels for {library.instruction_set()}; {memory}."
    print(text := f"{where}\n\n{markdown_table(head, cells, 3)}")
    if options.write is not None:
        write_section(options.write, "kernels", text)
        record = {"instruction_set": library.instruction_set(), "threads": options.threads, "memory_kept": can_keep()}
        numbers = [{**row._asdict(), "ratio": row.ratio} for row in rows]
        write_record(options.write, "kernels", {**record, "rows": numbers}, "torch")


if __name__ == "__main__":
    main()
