"""The plain PyTorch script of `photos_against_plain_torch.py`: ResNet-18 from nothing, as people write it.

    python benchmarks/plain_photos.py SPLIT.json --seconds 1200 --size 128 --seed 0

SPLIT.json has "classes" and, for "train" and "test", a list of (path of the picture, class number). Settings are those
of torchvision's references for classification: SGD with rate 0.1, momentum 0.9 and weight decay 0.0001, batches of 32,
the rate a tenth after one and after two thirds (30 and 60 of 90 epochs), random resized crops and mirror images,
channels normalised with ImageNet's means; float32, N x C x H x W. Pictures are decoded in the process itself: with one
core, workers would only take it from the training. Training lasts `--seconds` of the process's CPU time, what is
imported and read included; measuring on the test pictures comes on top. The last line is JSON.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != maps:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(F(x) + shortcut(x))."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


def resnet18(classes: int) -> nn.Module:
    """Return ResNet-18, initialised as torchvision does."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    inputs = 64
    for maps in (64, 128, 256, 512):
        layers += [BasicBlock(inputs, maps, 1 if maps == 64 else 2), BasicBlock(maps, maps, 1)]
        inputs = maps
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class Pictures(Dataset[tuple[Tensor, int]]):
    """Picture files, decoded anew each time, in training randomly cropped, resized and mirrored."""

    def __init__(self, files: list[tuple[str, int]], size: int, *, training: bool) -> None:
        self.files, self.size, self.training = files, size, training

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a picture, 3 x size x size, and its class."""
        path, label = self.files[index]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image = random_resized_crop(image, self.size) if self.training else centre(image, self.size)
        if self.training and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        tensor = pixels.view(self.size, self.size, 3).permute(2, 0, 1).contiguous().float().div(255)
        return (tensor - MEAN) / STD, label


def random_resized_crop(image: Image.Image, size: int) -> Image.Image:
    """Return a window of 8 % to 100 % of the picture, of aspect 3:4 to 4:3, resized."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return centre(image, size)


def centre(image: Image.Image, size: int) -> Image.Image:
    """Return the middle of the picture, brought to a shorter side of 256 / 224 of the size."""
    width, height = image.size
    scale = round(size * 256 / 224) / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def train(files: list[tuple[str, int]], classes: int, *, seconds: float, size: int) -> tuple[nn.Module, float]:
    """Train until the process has used so many seconds of CPU time; return the model and how many epochs it saw."""
    model = resnet18(classes).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(Pictures(files, size, training=True), batch_size=32, shuffle=True, drop_last=len(files) > 32)
    steps, began, given = 0, time.process_time(), seconds - time.process_time()
    while True:
        for images, labels in loader:
            passed = (time.process_time() - began) / given
            if passed >= 1:
                return model, steps / len(loader)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.1 ** math.floor(3 * passed)  # 30 and 60 of 90 epochs
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
            if steps % 20 == 0:
                print(f"{100 * passed:.0f} % of the time, epoch {steps / len(loader):.1f}, loss {loss:.3f}", flush=True)


@torch.no_grad()
def correct(model: nn.Module, files: list[tuple[str, int]], size: int) -> int:
    """Return how many pictures get their class."""
    model.eval()
    loader = DataLoader(Pictures(files, size, training=False), batch_size=32)
    return sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)


def main() -> None:
    """Train, measure once, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    torch.set_num_threads(1)
    split = json.loads(arguments.split.read_text())
    model, epochs = train(split["train"], len(split["classes"]), seconds=arguments.seconds, size=arguments.size)
    used = time.process_time()
    right = correct(model, split["test"], arguments.size)
    print(json.dumps({"correct": right, "total": len(split["test"]), "epochs": round(epochs, 1), "seconds": used}))


if __name__ == "__main__":
    main()
