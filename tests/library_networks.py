"""The networks of torchvision and of common CIFAR code in plain PyTorch: their layers, names and order of registration.

Written anew after torchvision 0.20 (`torchvision/models`) and akamaster/pytorch_resnet_cifar10, without what does not
change weights or outputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def scrambled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in evaluation mode, its norms' scales, shifts and averages drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -0.5, 0.5)):
            tensor.data.uniform_(low, high, generator=generator)
        norm.running_mean.uniform_(-0.5, 0.5, generator=generator)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
    return module.eval()


class Basic(nn.Module):
    def __init__(self, inputs: int, maps: int, stride: int, stride_in_3x3: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.downsample = downsample(inputs, maps, stride)

    def forward(self, x: Tensor) -> Any:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, maps: int, stride: int, stride_in_3x3: bool) -> None:
        super().__init__()
        first, second = (1, stride) if stride_in_3x3 else (stride, 1)
        self.conv1 = nn.Conv2d(inputs, maps, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.conv3 = nn.Conv2d(maps, 4 * maps, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * maps)
        self.downsample = downsample(inputs, 4 * maps, stride)

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def downsample(inputs: int, maps: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == maps:
        return None
    return nn.Sequential(nn.Conv2d(inputs, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))


class ResNet(nn.Module):
    """torchvision.models.resnet*: v1.5; with stride_in_3x3=False the paper's."""

    def __init__(self, blocks: Sequence[int], *, bottleneck: bool, classes: int, stride_in_3x3: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for number, (count, maps) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
            made = []
            for at in range(count):
                stride = 2 if at == 0 and number > 1 else 1
                made.append((Bottleneck if bottleneck else Basic)(inputs, maps, stride, stride_in_3x3))
                inputs = 4 * maps if bottleneck else maps
            self.add_module(f"layer{number}", nn.Sequential(*made))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class CifarBasic(nn.Module):
    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.more, self.stride = maps - inputs, stride

    def forward(self, x: Tensor) -> Any:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        same = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(y + same)


class CifarResNet(nn.Module):
    """akamaster's resnet20 and so on; option A pads maps of zeros on both sides of the channels."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for number, maps in enumerate((16, 32, 64), 1):
            blocks = []
            for at in range(n):
                blocks.append(CifarBasic(inputs, maps, 2 if at == 0 and number > 1 else 1))
                inputs = maps
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, 4):
            x = self.get_submodule(f"layer{number}")(x)
        return self.linear(x.mean((2, 3)))


def vgg16(*, norm: bool = False, classes: int = 1000, grid: int = 7) -> nn.Module:
    """torchvision.models.vgg16 and vgg16_bn, without their adaptive pooling (to 7 x 7)."""
    layers: list[nn.Module] = []
    inputs = 3
    for word in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if word == 0:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(inputs, word, 3, padding=1))
        layers += [nn.BatchNorm2d(word)] * norm + [nn.ReLU(True)]
        inputs = word
    dense = [nn.Linear(512 * grid * grid, 4096), nn.ReLU(True), nn.Dropout(0.5)]
    dense += [nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(4096, classes)]
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(*layers))
    net.add_module("flatten", nn.Flatten())
    net.add_module("classifier", nn.Sequential(*dense))
    return net


def alexnet(*, classes: int = 1000, grid: int = 6) -> nn.Module:
    """torchvision.models.alexnet, without its adaptive pooling (to 6 x 6)."""
    layers: list[nn.Module] = []
    rows = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    for number, row in enumerate(rows, 1):
        layers += [nn.Conv2d(*row), nn.ReLU(True)]
        if number in {1, 2, 5}:
            layers.append(nn.MaxPool2d(3, 2))
    dense = [nn.Dropout(0.5), nn.Linear(256 * grid * grid, 4096), nn.ReLU(True), nn.Dropout(0.5)]
    dense += [nn.Linear(4096, 4096), nn.ReLU(True), nn.Linear(4096, classes)]
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(*layers))
    net.add_module("flatten", nn.Flatten())
    net.add_module("classifier", nn.Sequential(*dense))
    return net


class ConvNorm(nn.Module):
    def __init__(self, inputs: int, maps: int, kernel: int | tuple[int, int], stride: int = 1, padding: bool = True):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        same = (sides[0] // 2, sides[1] // 2) if padding else 0
        self.conv = nn.Conv2d(inputs, maps, kernel, stride, same, bias=False)
        self.bn = nn.BatchNorm2d(maps, eps=0.001)

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class GoogLeNetModule(nn.Module):
    def __init__(self, inputs: int, one: int, red3: int, three: int, red5: int, five: int, proj: int) -> None:
        super().__init__()
        self.branch1 = ConvNorm(inputs, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(inputs, red3, 1), ConvNorm(red3, three, 3))
        self.branch3 = nn.Sequential(ConvNorm(inputs, red5, 1), ConvNorm(red5, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(inputs, proj, 1))

    def forward(self, x: Tensor) -> Any:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNetAux(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class GoogLeNet(nn.Module):
    """torchvision.models.googlenet."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = GoogLeNetModule(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = GoogLeNetModule(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = GoogLeNetModule(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = GoogLeNetModule(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = GoogLeNetModule(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = GoogLeNetModule(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = GoogLeNetModule(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = GoogLeNetModule(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = GoogLeNetModule(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = GoogLeNetAux(512, classes)
        self.aux2 = GoogLeNetAux(528, classes)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Any:
        for name, part in self.named_children():
            if not name.startswith(("aux", "fc")):
                x = part(x)
        return self.fc(x.flatten(1))


class InceptionBlock(nn.Module):
    """A block of torchvision's Inception3: named convolutions, and how the branches are made of their names."""

    def __init__(self, inputs: int, pool: str, branches: str, **rows: tuple[int, ...]) -> None:
        super().__init__()
        self.pool, self.branches = pool, [branch.split() for branch in branches.split("|")]
        before: dict[str, str] = {}  # the convolution that each follows in its branch
        for words in self.branches:
            for previous, word in zip(["", *words], words, strict=False):
                before |= dict.fromkeys(word.split("+"), previous)
        maps = {"": inputs}
        for name, (out, high, wide, *reduction) in rows.items():
            inner = maps[before.get(name, "")]
            self.add_module(name, ConvNorm(inner, out, (high, wide), 2 if reduction else 1, not reduction))
            maps[name] = out

    def forward(self, x: Tensor) -> Any:
        outputs = []
        for branch in self.branches:
            y = x
            for name in branch:
                parts = [self.get_submodule(n)(y) for n in name.split("+")]
                y = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            outputs.append(y)
        if self.pool == "average":  # torchvision counts the padding: F.avg_pool2d(x, 3, 1, 1)
            mean = F.avg_pool2d(x, 3, 1, 1, count_include_pad=self.count_padding)
            outputs.append(self.get_submodule("branch_pool")(mean))
        else:
            outputs.append(F.max_pool2d(x, 3, 2))
        return torch.cat(outputs, 1)

    count_padding = True


def inception_a(inputs: int, pool: int) -> InceptionBlock:
    return InceptionBlock(
        inputs,
        "average",
        "branch1x1|branch5x5_1 branch5x5_2|branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        branch1x1=(64, 1, 1),
        branch5x5_1=(48, 1, 1),
        branch5x5_2=(64, 5, 5),
        branch3x3dbl_1=(64, 1, 1),
        branch3x3dbl_2=(96, 3, 3),
        branch3x3dbl_3=(96, 3, 3),
        branch_pool=(pool, 1, 1),
    )


def inception_b(inputs: int) -> InceptionBlock:
    return InceptionBlock(
        inputs,
        "max",
        "branch3x3|branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        branch3x3=(384, 3, 3, 2),
        branch3x3dbl_1=(64, 1, 1),
        branch3x3dbl_2=(96, 3, 3),
        branch3x3dbl_3=(96, 3, 3, 2),
    )


def inception_c(inputs: int, inner: int) -> InceptionBlock:
    return InceptionBlock(
        inputs,
        "average",
        "branch1x1|branch7x7_1 branch7x7_2 branch7x7_3|"
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
        branch1x1=(192, 1, 1),
        branch7x7_1=(inner, 1, 1),
        branch7x7_2=(inner, 1, 7),
        branch7x7_3=(192, 7, 1),
        branch7x7dbl_1=(inner, 1, 1),
        branch7x7dbl_2=(inner, 7, 1),
        branch7x7dbl_3=(inner, 1, 7),
        branch7x7dbl_4=(inner, 7, 1),
        branch7x7dbl_5=(192, 1, 7),
        branch_pool=(192, 1, 1),
    )


def inception_d(inputs: int) -> InceptionBlock:
    return InceptionBlock(
        inputs,
        "max",
        "branch3x3_1 branch3x3_2|branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        branch3x3_1=(192, 1, 1),
        branch3x3_2=(320, 3, 3, 2),
        branch7x7x3_1=(192, 1, 1),
        branch7x7x3_2=(192, 1, 7),
        branch7x7x3_3=(192, 7, 1),
        branch7x7x3_4=(192, 3, 3, 2),
    )


def inception_e(inputs: int) -> InceptionBlock:
    return InceptionBlock(
        inputs,
        "average",
        "branch1x1|branch3x3_1 branch3x3_2a+branch3x3_2b|branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
        branch1x1=(320, 1, 1),
        branch3x3_1=(384, 1, 1),
        branch3x3_2a=(384, 1, 3),
        branch3x3_2b=(384, 3, 1),
        branch3x3dbl_1=(448, 1, 1),
        branch3x3dbl_2=(384, 3, 3),
        branch3x3dbl_3a=(384, 1, 3),
        branch3x3dbl_3b=(384, 3, 1),
        branch_pool=(192, 1, 1),
    )


class InceptionAux(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv0 = ConvNorm(inputs, 128, 1)
        self.conv1 = ConvNorm(128, 768, 5, padding=False)
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Any:
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, 3)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Inception3(nn.Module):
    """torchvision.models.inception_v3, but for the padding of its mean pooling, which it counts with count_padding."""

    def __init__(self, classes: int = 1000, *, count_padding: bool = True) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2, padding=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, padding=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, padding=False)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = inception_a(192, 32)
        self.Mixed_5c = inception_a(256, 64)
        self.Mixed_5d = inception_a(288, 64)
        self.Mixed_6a = inception_b(288)
        self.Mixed_6b = inception_c(768, 128)
        self.Mixed_6c = inception_c(768, 160)
        self.Mixed_6d = inception_c(768, 160)
        self.Mixed_6e = inception_c(768, 192)
        self.AuxLogits = InceptionAux(768, classes)
        self.Mixed_7a = inception_d(768)
        self.Mixed_7b = inception_e(1280)
        self.Mixed_7c = inception_e(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(2048, classes)
        for block in self.modules():
            if isinstance(block, InceptionBlock):
                block.count_padding = count_padding

    def forward(self, x: Tensor) -> Any:
        for name, part in self.named_children():
            if name not in {"AuxLogits", "fc"}:
                x = part(x)
        return self.fc(x.flatten(1))
