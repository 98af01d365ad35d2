"""DeepLab: the paper's parameters, alignment, a copy in plain PyTorch, the largest of three scales."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError
from striate.models import build, build_as_published, published
from striate.models.deeplab import DeepLab, deeplab_resnet101, deeplab_vgg16, enlarged

NARROW: dict[str, Any] = {"width": 1 / 16, "classes": 5, "channels": 2}
VGG = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def narrow(name: str, **options: Any) -> DeepLab:
    torch.manual_seed(0)
    model = build(name, **NARROW | options).eval()
    assert isinstance(model, DeepLab)
    return model


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_as_published(name).parameters())


def test_parameters_on_vgg_counted_by_hand() -> None:
    body = sum(9 * a * b + b for a, b in pairwise([3, *VGG]))
    head = (9 * 512 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 21 + 21)
    assert parameters("deeplab-v1") == body + head
    assert parameters("deeplab-v2-vgg16") == body + 4 * head
    [printed] = published("deeplab-v1")
    assert isinstance(printed.value, int)
    assert abs(body + head - printed.value) <= printed.tolerance
    # the row of table 2 with all of fc6's 7 x 7 places and 4096 maps, printed as 134.3M
    whole = body + (49 * 512 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 21 + 21)
    assert round(whole / 1e6, 1) == 134.3


def test_parameters_on_resnet_counted_by_hand() -> None:
    total, inputs = 49 * 3 * 64 + 2 * 64, 64
    for blocks, maps in ((3, 64), (4, 128), (23, 256), (3, 512)):
        for block in range(blocks):
            total += inputs * maps + 9 * maps * maps + 4 * maps * maps + 2 * (maps + maps + 4 * maps)
            total += (inputs * 4 * maps + 2 * 4 * maps) if block == 0 else 0
            inputs = 4 * maps
    total += 4 * (9 * 2048 * 21 + 21)
    assert parameters("deeplab-v2-resnet101") == total == 44_048_532


def test_pools_keep_stride_8() -> None:
    """(321 - 1) / 8 + 1 = 41: PAMI trains on crops of 321."""
    with torch.device("meta"):
        seen = deeplab_vgg16().features(torch.empty(1, 3, 321, 321))
        deep = deeplab_resnet101().features(torch.empty(1, 3, 321, 321))
    sizes = {name: output.shape[2] for name, output in seen.items() if "pool" in name or name == "fc8"}
    assert sizes == {"pool1": 161, "pool2": 81, "pool3": 41, "pool4": 41, "pool5": 41, "pool5a": 41, "fc8": 41}
    assert (deep["res3b3"].shape[1:], deep["res5c"].shape[1:]) == ((512, 41, 41), (2048, 41, 41))
    assert [name for name in deep if name.startswith("res4")] == ["res4a", *(f"res4b{n}" for n in range(1, 23))]


def plain_vgg(model: DeepLab, x: Tensor, rates: tuple[int, ...]) -> Tensor:
    """DeepLab on VGG-16 with PyTorch's functions alone: scores, not enlarged."""
    w = dict(model.named_parameters())

    def conv(x: Tensor, name: str, rate: int = 1) -> Tensor:
        kernel = w[f"{name}.weight"]
        return F.conv2d(x, kernel, w[f"{name}.bias"], padding=rate * (kernel.shape[2] // 2), dilation=rate)

    for block, (count, rate, stride) in enumerate([(2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, 1)], 1):
        for number in range(1, count + 1):
            x = conv(x, f"conv{block}_{number}.conv", rate).relu()
        x = F.max_pool2d(x, 3, stride, padding=1, ceil_mode=True)
    if len(rates) == 1:
        x = F.avg_pool2d(x, 3, 1, padding=1)
        return conv(conv(conv(x, "fc6.conv", rates[0]).relu(), "fc7.conv").relu(), "fc8")
    scores = []
    for number, rate in enumerate(rates, 1):
        at = f"aspp.rate{rate}"
        y = conv(conv(x, f"{at}.fc6_{number}.conv", rate).relu(), f"{at}.fc7_{number}.conv").relu()
        scores.append(conv(y, f"{at}.fc8_{number}"))
    return scores[0] + scores[1] + scores[2] + scores[3]


@pytest.mark.parametrize(("name", "rates"), [("deeplab-v1", (12,)), ("deeplab-v2-vgg16", (6, 12, 18, 24))])
def test_equal_to_plain_pytorch_on_vgg(name: str, rates: tuple[int, ...]) -> None:
    model = narrow(name)
    x = torch.randn(2, 2, 49, 66)
    scores = plain_vgg(model, x, rates)
    assert scores.shape == (2, 5, 7, 10)
    torch.testing.assert_close(model.features(x)["fc8" if len(rates) == 1 else "aspp"], scores)
    full = F.interpolate(scores, (49, 73), mode="bilinear", align_corners=True)
    torch.testing.assert_close(model(x), full[..., :66])


def test_equal_to_plain_pytorch_on_resnet() -> None:
    model = narrow("deeplab-v2-resnet101")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.4)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
    s = model.state_dict()

    def conv(x: Tensor, name: str, norm: str = "", stride: int = 1, padding: int = 0, rate: int = 1) -> Tensor:
        y = F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride, padding, rate)
        if not norm:
            return y
        mean, variance, scale, shift = (
            s[f"{norm}.{what}"] for what in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, scale, shift)

    picture = torch.randn(1, 2, 49, 41)
    x = F.max_pool2d(conv(picture, "conv1.conv", "conv1.norm", 2, 3).relu(), 3, 2, 1, ceil_mode=True)
    for stage, count, first_stride, rate in (
        ("res2", 3, 1, 1),
        ("res3", 4, 2, 1),
        ("res4", 23, 1, 2),
        ("res5", 3, 1, 4),
    ):
        for number in range(count):
            at = stage + ("abc"[number] if count == 3 else "a" if number == 0 else f"b{number}")
            stride = first_stride if number == 0 else 1
            y = conv(x, f"{at}.branch2a", f"{at}.bn2a", stride).relu()
            y = conv(y, f"{at}.branch2b", f"{at}.bn2b", 1, rate, rate).relu()
            y = conv(y, f"{at}.branch2c", f"{at}.bn2c")
            x = conv(x, f"{at}.shortcut.branch1", f"{at}.shortcut.bn1", stride) if number == 0 else x
            x = (x + y).relu()
    scores = sum(conv(x, f"aspp.rate{rate}", "", 1, rate, rate) for rate in (6, 12, 18, 24))
    assert isinstance(scores, Tensor)
    torch.testing.assert_close(model(picture), F.interpolate(scores, (49, 41), mode="bilinear", align_corners=True))


@pytest.mark.parametrize("name", ["deeplab-v1", "deeplab-v2-resnet101"])
def test_output_pixels_lie_on_the_input_pixels(name: str) -> None:
    """A point of light at pixel (8 k, 8 l) of a symmetric network lights the scores symmetrically around (k, l)."""
    model = narrow(name).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 4:
                p.copy_((p + p.flip(2) + p.flip(3) + p.flip(2, 3)).abs())
    x = torch.zeros(1, 2, 129, 129, dtype=torch.float64)
    x[0, :, 64, 64] = 1.0
    logits = model(x)
    torch.testing.assert_close(logits, logits.flip(2))
    torch.testing.assert_close(logits, logits.flip(3))
    assert logits[0, 0].std() > 0


def test_enlarging_interpolates_from_every_8th_pixel() -> None:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(3.0), indexing="ij")
    scores = torch.stack([8 * y, 8 * x])[None]
    rows, columns = torch.meshgrid(torch.arange(25.0), torch.arange(17.0), indexing="ij")
    torch.testing.assert_close(enlarged(scores, (25, 17))[0], torch.stack([rows, columns]))
    torch.testing.assert_close(enlarged(scores, (20, 11))[0], torch.stack([rows, columns])[:, :20, :11])
    beyond = enlarged(scores, (28, 17))  # a last score stands for what lies beyond it
    torch.testing.assert_close(beyond[0, 0, 25:], torch.full((3, 17), 24.0))


@pytest.mark.parametrize("size", [(1, 1), (20, 7), (64, 33)])
@pytest.mark.parametrize("name", ["deeplab-v1", "deeplab-v2-vgg16", "deeplab-v2-resnet101"])
def test_any_size(name: str, size: tuple[int, int]) -> None:
    assert narrow(name)(torch.randn(1, 2, *size)).shape == (1, 5, *size)


def test_the_largest_score_of_three_scales_stands() -> None:
    one, three = narrow("deeplab-v1"), narrow("deeplab-v1", multi_scale=True)
    x = torch.randn(1, 2, 65, 49)
    shrunk = [F.interpolate(x, size, mode="bilinear", align_corners=True) for size in ((33, 25), (49, 37))]
    again = [F.interpolate(one(small), (65, 49), mode="bilinear", align_corners=True) for small in shrunk]
    expected = torch.stack([one(x), *again]).amax(0)
    torch.testing.assert_close(three(x), expected)
    assert torch.equal(three.features(x)["logits"], three(x))
    assert (expected != one(x)).any()


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="deeplab-v1: multi_scale must be true or false, got 3"):
        build("deeplab-v1", multi_scale=3)
    with pytest.raises(InputError, match=r"deeplab-v2-vgg16: width must be above 0 and at most 4"):
        build("deeplab-v2-vgg16", width="wide")
    with pytest.raises(InputError, match="model 'deeplab-v2-resnet101' has no option 'dropout'"):
        build("deeplab-v2-resnet101", dropout=0.1)


def test_recomputing_keeps_the_gradients() -> None:
    plain = narrow("deeplab-v2-resnet101", width=1 / 32).train()
    again = narrow("deeplab-v2-resnet101", width=1 / 32, recompute=True).train()
    x = torch.randn(2, 2, 33, 33)
    for model in (plain, again):
        model(x).square().sum().backward()
    for a, b in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
