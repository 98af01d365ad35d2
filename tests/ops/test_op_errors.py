"""What a wrong call says: the operator, what was expected, what came, what to do."""

import numpy as np
import pytest
import torch

from striate import ops
from striate.errors import InputError


def z(*shape, dtype=torch.float32, device=None):
    return torch.zeros(*shape, dtype=dtype, device=device)


IMAGE = z(8, 3, 32, 32)
NO_TABLE = "conv: links must be a table of 0 and 1 with a row per output channel and a column per input channel, got "

CASES = [
    (
        lambda: ops.conv(IMAGE, z(64, 4, 3, 3)),
        "conv: weight (64, 4, 3, 3) with groups=1 needs 4 input channels, the input (8, 3, 32, 32) has 3",
    ),
    (
        lambda: ops.conv(IMAGE, z(64, 3, 3, 3), groups=3),
        "conv: weight (64, 3, 3, 3) with groups=3 needs 9 input channels, the input (8, 3, 32, 32) has 3",
    ),
    (
        lambda: ops.conv(IMAGE, z(64, 1, 3, 3), groups=3),
        "conv: groups=3 must divide the 64 output channels of the weight (64, 1, 3, 3)",
    ),
    (lambda: ops.conv(IMAGE, z(6, 3, 3, 3), groups=0), "conv: groups must be an integer of 1 or more, got 0"),
    (lambda: ops.conv(IMAGE, z(6, 3, 3, 3), groups=1.0), "conv: groups must be an integer of 1 or more, got 1.0"),
    (
        lambda: ops.conv(z(3, 32, 32), z(6, 3, 3, 3)),
        "conv: weight (6, 3, 3, 3) and input (3, 32, 32) must have the same number of axes, output and input channels"
        " before the kernel, batch and channels before the image; a single image needs x[None]",
    ),
    (
        lambda: ops.conv(z(8, 3), z(6, 3)),
        "conv: the input must be N x C x spatial, for example (8, 3, 32, 32), got (8, 3)",
    ),
    (
        lambda: ops.conv(IMAGE, z(0, 3, 3, 3)),
        "conv: weight (0, 3, 3, 3) is empty: it needs at least one output and one input channel",
    ),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3, 3), z(5)),
        "conv: bias (5,) must be (6,), a number for each output channel",
    ),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), z(2), links=[[1, 2, 0]]), NO_TABLE + "[[1, 2, 0]]"),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), links=((1, 0, 1), (1,))), NO_TABLE + "((1, 0, 1), (1,))"),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), links=[1, 0, 1]), NO_TABLE + "[1, 0, 1]"),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), links=np.full((1, 3), 0.5)), NO_TABLE + "[[0.5, 0.5, 0.5]]"),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), links=[[[1], [0], [1]]]), NO_TABLE + "[[[1], [0], [1]]]"),
    (lambda: ops.conv(IMAGE, z(2, 3, 3), links=3), NO_TABLE + "3"),
    (
        lambda: ops.conv(IMAGE, z(2, 3, 3), links=torch.ones(4, 2)),
        "conv: links (4, 2) need 2 input channels, the input (8, 3, 32, 32) has 3",
    ),
    (
        lambda: ops.conv(IMAGE, z(5, 3, 3), links=torch.ones(2, 3)),
        "conv: links with 6 ones need a weight of 6 kernels, (6, kernel of 2 axes), got (5, 3, 3)",
    ),
    (
        lambda: ops.conv(IMAGE, z(2, 3, 3, 3), links=torch.ones(2, 3)),
        "conv: links with 6 ones need a weight of 6 kernels, (6, kernel of 2 axes), got (2, 3, 3, 3)",
    ),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3), links=torch.ones(2, 3), groups=3),
        "conv: links and groups=3 exclude each other: write the groups into the table",
    ),
    (
        lambda: ops.conv(z(1, 3, 4, 4), z(6, 3, 5, 5)),
        "conv: a window of (5, 5) does not fit into the input size (4, 4) with padding ((0, 0), (0, 0)): "
        "take a larger input, a smaller kernel or more padding",
    ),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 0, 3)),
        "conv: kernel must be an integer of 1 or more, or one per axis (2 axes), got (0, 3)",
    ),
    (lambda: ops.conv(IMAGE, z(6, 3, 3, 3), padding="sam"), "conv: unknown padding 'sam'; did you mean 'same'?"),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3, 3), stride=(1, 0)),
        "conv: stride must be an integer of 1 or more, or one per axis (2 axes), got (1, 0)",
    ),
    (lambda: ops.conv(IMAGE, z(6, 3, 3, 3), flip=1), "conv: flip must be True or False, got 1"),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3, 3, dtype=torch.float64)),
        "conv: the input is torch.float32, weight is torch.float64: use .to() on one",
    ),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3, 3), z(6, dtype=torch.bfloat16)),
        "conv: the input is torch.float32, bias is torch.bfloat16: use .to() on one",
    ),
    (
        lambda: ops.conv(IMAGE, z(6, 3, 3, 3, device="meta")),
        "conv: the input is on cpu, weight on meta: use .to() on one",
    ),
    (
        lambda: ops.conv(IMAGE.byte(), z(6, 3, 3, 3)),
        "conv: the input must be floating point, got torch.uint8: convert it with .float()",
    ),
    (lambda: ops.conv(np.zeros((1, 1, 4)), z(1, 1, 3)), "conv: input must be a torch.Tensor, got ndarray"),
    (lambda: ops.conv(z(1, 1, 4), [[[1.0]]]), "conv: weight must be a torch.Tensor, got list"),
    (
        lambda: ops.max_pool(IMAGE.int(), 2),
        "max_pool: the input must be floating point, got torch.int32: convert it with .float()",
    ),
    (
        lambda: ops.max_pool(z(3, 3), 2),
        "max_pool: the input must be N x C x spatial, for example (8, 3, 32, 32), got (3, 3)",
    ),
    (
        lambda: ops.max_pool(IMAGE, (2, 2, 2)),
        "max_pool: kernel must be an integer of 1 or more, or one per axis (2 axes), got (2, 2, 2)",
    ),
    (
        lambda: ops.max_pool(IMAGE, 2, padding=((0, 0), (3, 0))),
        "max_pool: with padding (3, 0) on axis 1 of the image, window 0 of size 2 holds no input: take less padding",
    ),
    (lambda: ops.max_pool(IMAGE, 2, return_switches=None), "max_pool: return_switches must be True or False, got None"),
    (
        lambda: ops.avg_pool(z(1, 1, 4), 2, padding=2),
        "avg_pool: with padding (2, 2) on axis 0 of the image, window 0 of size 2 holds no input: take less padding",
    ),
    (lambda: ops.avg_pool(IMAGE, 2, ceil="yes"), "avg_pool: ceil must be True or False, got 'yes'"),
    (
        lambda: ops.subsample(IMAGE, z(3), z(4), 2),
        "subsample: bias (4,) must be (3,), a number for each channel of the input (8, 3, 32, 32)",
    ),
    (
        lambda: ops.subsample(IMAGE, z(3), z(3), 2, reduce="maen"),
        "subsample: unknown reduce 'maen'; did you mean 'mean'?",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(64, 3, 3, 3)),
        "conv_transpose: weight (64, 3, 3, 3), input channels first, needs 64 input channels, the input (8, 3, 32, 32)"
        " has 3; its first two axes are exchanged",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(4, 6, 3, 3)),
        "conv_transpose: weight (4, 6, 3, 3), input channels first, needs 4 input channels, the input (8, 3, 32, 32)"
        " has 3",
    ),
    (
        lambda: ops.conv_transpose(z(3, 32, 32), z(3, 6, 3, 3)),
        "conv_transpose: weight (3, 6, 3, 3) and input (3, 32, 32) must have the same number of axes, input and output"
        " channels before the kernel, batch and channels before the image; a single image needs x[None]",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 0, 3, 3)),
        "conv_transpose: weight (3, 0, 3, 3) is empty: it needs at least one input and output channel",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 6, 3, 3), groups=2),
        "conv_transpose: groups=2 must divide the 3 input channels",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 6, 3, 3), groups=True),
        "conv_transpose: groups must be an integer of 1 or more, got True",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 2, 3, 3), z(2), groups=3),
        "conv_transpose: bias (2,) must be (6,), a number for each output channel",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 2, 3, 3), output_padding=(1, -1)),
        "conv_transpose: output_padding must be an integer of 0 or more, or one per axis (2 axes), got (1, -1)",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 2, 3, 3), output_padding=0.5),
        "conv_transpose: output_padding must be an integer of 0 or more, or one per axis (2 axes), got 0.5",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 2, 3, 3), padding="same", stride=2, output_padding=1),
        "conv_transpose: padding 'same' gives n * stride outputs, (64, 64) here, without output_padding (1, 1): leave"
        " that out",
    ),
    (
        lambda: ops.conv_transpose(z(1, 1, 1, 2), z(1, 1, 2, 2), padding=1),
        "conv_transpose: padding ((1, 1), (1, 1)) crops all of the (2, 3) outputs that the input size (1, 2) and the"
        " kernel (2, 2) make: take less padding",
    ),
    (
        lambda: ops.conv_transpose(z(1, 1, 0), z(1, 1, 2)),
        "conv_transpose: the input size must be 1 or more on every axis, got (0,)",
    ),
    (
        lambda: ops.conv_transpose(IMAGE, z(3, 2, 3, 3), stride=0),
        "conv_transpose: stride must be an integer of 1 or more, or one per axis (2 axes), got 0",
    ),
    (
        lambda: ops.deform_conv(z(8, 3, 32), z(8, 18, 30), z(6, 3, 3)),
        "deform_conv: the input must be N x C x H x W, for example (8, 3, 32, 32), got (8, 3, 32)",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 32, 32), z(6, 3, 3, 3)),
        "deform_conv: offset (8, 18, 32, 32) must be (8, 18, 30, 30), 2 * offset_groups * kh * kw numbers for each"
        " output, with the input (8, 3, 32, 32), the weight (6, 3, 3, 3) and offset_groups=1",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 54, 30, 30), z(6, 3, 3, 3), mask=z(8, 9, 30, 30), offset_groups=3),
        "deform_conv: mask (8, 9, 30, 30) must be (8, 27, 30, 30), offset_groups * kh * kw numbers for each output,"
        " with the input (8, 3, 32, 32), the weight (6, 3, 3, 3) and offset_groups=3",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30), z(6, 3, 3, 3), offset_groups=2),
        "deform_conv: offset_groups=2 must divide the 3 input channels",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30), z(6, 3, 3, 3), groups=4),
        "deform_conv: groups=4 must divide the 6 output channels",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30), z(6, 3, 3, 3), groups=3),
        "deform_conv: weight (6, 3, 3, 3) with groups=3 needs 9 input channels, the input (8, 3, 32, 32) has 3",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30), z(6, 3, 9)),
        "deform_conv: the weight must be P x C/groups x kh x kw, none of them 0, got (6, 3, 9)",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30), z(6, 3, 3, 3), z(3)),
        "deform_conv: bias (3,) must be (6,), a number for each output channel",
    ),
    (
        lambda: ops.deform_conv(IMAGE, z(8, 18, 30, 30, dtype=torch.float64), z(6, 3, 3, 3)),
        "deform_conv: the input is torch.float32, offset is torch.float64: use .to() on one",
    ),
    (
        lambda: ops.deform_conv(z(1, 1, 2, 2), z(1, 18, 1, 1), z(1, 1, 3, 3)),
        "deform_conv: a window of (3, 3) does not fit into the input size (2, 2) with padding ((0, 0), (0, 0)): "
        "take a larger input, a smaller kernel or more padding",
    ),
    (
        lambda: ops.max_unpool(z(1, 2, 3), torch.zeros(1, 2, 4, dtype=torch.long), 2),
        "max_unpool: switches (1, 2, 4) must have the shape of the input (1, 2, 3)",
    ),
    (
        lambda: ops.max_unpool(z(1, 2, 3), z(1, 2, 3), 2),
        "max_unpool: switches must be an int64 tensor, as max_pool(..., return_switches=True) returns them, got"
        " torch.float32",
    ),
    (
        lambda: ops.max_unpool(z(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.long, device="meta"), 2),
        "max_unpool: the input is on cpu, switches on meta: use .to() on one",
    ),
    *(
        (
            lambda impl=impl: ops.max_unpool(z(1, 1, 3), torch.tensor([[[0, 2, 9]]]), 2, impl=impl),
            "max_unpool: switches must be positions in the result of size (6,), 0 to 5, got 0 to 9: give the pooled"
            " size as output_size",
        )
        for impl in ("aten", "reference")
    ),
    (
        lambda: ops.max_unpool(z(1, 1, 3), torch.tensor([[[-1, 2, 4]]]), 2),
        "max_unpool: switches must be positions in the result of size (6,), 0 to 5, got -1 to 4: give the pooled"
        " size as output_size",
    ),
    (
        lambda: ops.max_unpool(z(1, 1, 3), torch.zeros(1, 1, 3, dtype=torch.long), 2, output_size=9),
        "max_unpool: max_pool of output_size (9,) with kernel (2,), stride (2,) and padding ((0, 0),) gives (4,), the"
        " input has (3,): give the size that was pooled",
    ),
    (
        lambda: ops.max_unpool(z(1, 1, 3), torch.zeros(1, 1, 3, dtype=torch.long), 2, output_size=(2, 3)),
        "max_unpool: output_size must be an integer of 1 or more, or one per axis (1 axis), got (2, 3)",
    ),
    (
        lambda: ops.max_unpool(z(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), 2, padding=1),
        "max_unpool: with kernel (2,) and padding ((1, 1),) the input size (1,) comes from the size (0,), which is"
        " empty: take less padding",
    ),
    (
        lambda: ops.local_response_norm(z(3, 4)),
        "local_response_norm: the input must be N x C x spatial, for example (8, 3, 32, 32), got (3, 4)",
    ),
    (
        lambda: ops.local_response_norm(IMAGE, size=2.5),
        "local_response_norm: size must be an integer of 1 or more channels, got 2.5",
    ),
    (
        lambda: ops.local_response_norm(IMAGE, alpha=-1e-4),
        "local_response_norm: alpha must be a number of 0 or more, got -0.0001",
    ),
    (
        lambda: ops.local_response_norm(IMAGE, k=float("nan")),
        "local_response_norm: k must be a number of 0 or more, got nan",
    ),
    (
        lambda: ops.highway(z(2, 3), z(2, 3), z(2, 1)),
        "highway: the input (2, 3), h (2, 3) and t (2, 1) must have one shape: the layer keeps the shape of its input,"
        " and the gate has a value for each of its elements",
    ),
    (
        lambda: ops.highway(z(2), z(2), 0.5),
        "highway: t must be a torch.Tensor, got float",
    ),
    (
        lambda: ops.scaled_tanh(z(2), amplitude=float("inf")),
        "scaled_tanh: amplitude must be a finite number, got inf",
    ),
    (
        lambda: ops.scaled_tanh(z(2), slope="2/3"),
        "scaled_tanh: slope must be a finite number, got '2/3'",
    ),
    (
        lambda: ops.rbf(z(5, 84), z(10, 85)),
        "rbf: the input (5, 84) and the centres (10, 85) must be N x D and K x D with the same D",
    ),
]


@pytest.mark.parametrize(("call", "message"), CASES, ids=[message[:60] for _, message in CASES])
def test_message(call, message):
    for _ in range(2):  # a second time: an error is not remembered as a result
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == message


def test_a_remembered_call_does_not_let_a_wrong_one_pass():
    """1, 1.0 and True are equal and hash alike, but only one of them is an integer."""
    x, w = z(1, 1, 6, 6), z(1, 1, 3, 3)
    ops.conv(x, w, stride=1, flip=False)
    for words in ({"stride": 1.0}, {"stride": True}, {"flip": 0}):
        with pytest.raises(InputError):
            ops.conv(x, w, **words)
