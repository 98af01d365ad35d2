"""AlexNet (Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012).

The row `two-paths` is the paper's network, section 3.5 and figure 2: two halves that share nothing but what they see of
each other at the third convolution and in the dense layers; they may live on two devices (`devices`) or in two
processes (`alexnet_parallel`). Departures: none. The paper takes 224 x 224 images, and its first layer gives 55 x 55
maps: the last windows hang three pixels over the end, as its software (cuda-convnet) lets them. That is padding (0, 3);
images of 227 x 227 give the same maps without.

The row `single` is the one path of Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014,
as torchvision has it; its card lists what differs.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry import make_window, output_size
from striate.models._chain import chosen_size, require_fraction, require_images
from striate.nn import Conv, Dropout, Linear, LocalResponseNorm, MaxPool

SIZE = (224, 224)  # section 3.5


class Layer(NamedTuple):
    """One layer of each path: its maps (units), and what follows its ReLU; kernel 0 is a dense layer."""

    name: str
    maps: int
    kernel: int = 0
    stride: int = 1
    padding: int | tuple[int, int] = 0
    meets: bool = False  # sees the maps of both paths
    bias: float = 0.0  # section 5: 1 in the second, fourth and fifth convolution and the dense hidden layers
    norm: bool = False  # section 3.5: response normalisation follows the first and second layer,
    pool: bool = False  # max pooling both of these and the fifth


class Network(NamedTuple):
    """A row: so many paths of these layers, then one dense layer that sees all of them."""

    paths: int
    layers: tuple[Layer, ...]
    smallest: tuple[int, int]
    dropout_first: bool  # before the two dense hidden layers instead of after them


NETWORKS = {
    "two-paths": Network(
        2,
        (  # of each path, for 224 x 224 ->
            Layer("conv1", 48, 11, stride=4, padding=(0, 3), norm=True, pool=True),  # 48 @ 55 x 55, pooled 27 x 27
            # The textbook prints padding 1 here; its sizes, and the paper's, need 2.
            Layer("conv2", 128, 5, padding=2, bias=1.0, norm=True, pool=True),  # 128 @ 27 x 27, pooled 13 x 13
            Layer("conv3", 192, 3, padding=1, meets=True),  # 192 @ 13 x 13
            Layer("conv4", 192, 3, padding=1, bias=1.0),  # 192 @ 13 x 13
            Layer("conv5", 128, 3, padding=1, bias=1.0, pool=True),  # 128 @ 13 x 13, pooled 6 x 6
            Layer("fc6", 2048, meets=True, bias=1.0),
            Layer("fc7", 2048, meets=True, bias=1.0),
        ),
        smallest=(64, 64),
        dropout_first=False,  # section 4.2: the outputs of the first two dense layers are dropped
    ),
    "single": Network(
        1,
        (
            Layer("conv1", 64, 11, stride=4, padding=2, pool=True),  # 64 @ 55 x 55, pooled 27 x 27
            Layer("conv2", 192, 5, padding=2, bias=1.0, pool=True),  # 192 @ 27 x 27, pooled 13 x 13
            Layer("conv3", 384, 3, padding=1),  # 384 @ 13 x 13
            Layer("conv4", 256, 3, padding=1, bias=1.0),  # 256 @ 13 x 13
            Layer("conv5", 256, 3, padding=1, bias=1.0, pool=True),  # 256 @ 13 x 13, pooled 6 x 6
            Layer("fc6", 4096, bias=1.0),
            Layer("fc7", 4096, bias=1.0),
        ),
        smallest=(63, 63),
        dropout_first=True,
    ),
}


class Path(nn.Module):
    """One path: its layers by name, in stages between which it meets the other one.

    `run(stage, x)` takes what the stage's first layer sees (the images, or the maps of all paths side by side) and
    returns this path's own maps.
    """

    def __init__(self, network: Network, channels: int, size: tuple[int, int], dropout: float) -> None:
        super().__init__()
        stages: list[list[str]] = [[]]
        maps = channels
        for layer in network.layers:
            if layer.meets:
                maps *= network.paths
                stages.append([])
            inputs = maps if layer.kernel or size == (1, 1) else maps * size[0] * size[1]
            for name, module in _modules(layer, inputs, dropout, network.dropout_first).items():
                self.add_module(name, module)
                stages[-1].append(name)
            maps, size = layer.maps, _output_size(layer, size)
        self.stages = tuple(map(tuple, stages))

    @property
    def device(self) -> torch.device:
        """Where the path's parameters are."""
        return next(self.parameters()).device

    def run(self, stage: int, x: Tensor, seen: dict[str, Tensor] | None = None) -> Tensor:
        """Return the path's maps after a stage; the output of every layer of it goes to `seen`, by its name."""
        for name in self.stages[stage]:
            x = self.get_submodule(name)(x)
            if seen is not None:
                seen[name] = x
        return x


class AlexNet(nn.Module):
    """Paths `path1` (and `path2`) and the last dense layer `fc8`: N x C x H x W of `input_size` -> logits N x classes.

    With `devices` the first path and fc8 live on the first device, the second path on the second; maps move only where
    the paths meet, and the logits are on the first. Then `to`, `cuda` and the like change types as ever but do not
    gather the network on one device; `place` does: `place(None)` followed by `to(device)`.
    """

    def __init__(self, name: str, paths: Sequence[Path], fc8: nn.Linear, input_size: tuple[int, int, int]) -> None:
        super().__init__()
        self.name, self.input_size = name, input_size
        self.path_names = tuple(f"path{number}" for number in range(1, len(paths) + 1))
        for path_name, path in zip(self.path_names, paths, strict=True):
            self.add_module(path_name, path)
        self.fc8 = fc8
        self.stages = len(paths[0].stages)
        self.devices: tuple[torch.device, torch.device] | None = None

    @property
    def paths(self) -> list[Path]:
        """The paths in their order."""
        return [cast("Path", self.get_submodule(name)) for name in self.path_names]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, on the device of fc8."""
        require_images(self.name, x, self.input_size, None)
        maps = [x]
        for stage in range(self.stages):
            maps = [path.run(stage, whole) for path, whole in zip(self.paths, self._met(maps), strict=True)]
        logits: Tensor = self.fc8(_together(maps, self.fc8.weight.device))
        return logits

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's output (after ReLU and dropout), the paths' maps side by side, and "logits"."""
        require_images(self.name, x, self.input_size, None)
        home = self.fc8.weight.device
        halves: list[dict[str, Tensor]] = [{} for _ in self.paths]
        maps = [x]
        for stage in range(self.stages):
            met = zip(self.paths, self._met(maps), halves, strict=True)
            maps = [path.run(stage, whole, half) for path, whole, half in met]
        seen = {name: _together([half[name] for half in halves], home) for name in halves[0]}
        seen["fc8"] = seen["logits"] = self.fc8(_together(maps, home))
        return seen

    def _met(self, maps: list[Tensor]) -> list[Tensor]:
        """Return for each path the maps of all, on its device; where paths share one, they are put together once."""
        wholes = {device: _together(maps, device) for device in {path.device: None for path in self.paths}}
        return [wholes[path.device] for path in self.paths]

    def place(self, devices: tuple[str, str] | None) -> None:
        """Put the two paths on two devices and keep them there; None lets `to` move the network as a whole again.

        Raises InputError for a network of one path, or for devices that are not there.
        """
        self.devices = None if devices is None else _require_devices(self.name, devices, len(self.paths))
        self._keep_place()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply to every tensor what `to`, `double`, `cuda` ... ask for, then put the paths back on their devices."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._keep_place()
        return self

    def _keep_place(self) -> None:
        if self.devices is not None and not self.fc8.weight.is_meta:
            for part, device in zip((*self.paths, self.fc8), (*self.devices, self.devices[0]), strict=True):
                part.to(device)


def alexnet(
    row: str = "two-paths",
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
    devices: tuple[str, str] | None = None,
) -> AlexNet:
    """Build the network of figure 2 ("two-paths") or of one path ("single") for images of `size` (224 x 224).

    60,965,224 and 61,100,840 parameters for 1000 classes. dropout: of the two dense hidden layers (section 4.2).
    devices: where the two paths live, such as ("cuda:0", "cuda:1"); see `AlexNet`. Weights start normal with deviation
    0.01, biases at 0 or 1 (section 5). Raises InputError, for sizes below 64 x 64 (63 x 63 for the single path) too.
    """
    if row not in NETWORKS:
        raise InputError(f"alexnet: the rows are {' and '.join(NETWORKS)}, got {row!r}")
    network, name = NETWORKS[row], "alexnet" if row == "two-paths" else f"alexnet-{row}"
    size = chosen_size(name, size, SIZE, network.smallest)
    dropout = require_fraction(name, "dropout", dropout)
    paths = [Path(network, channels, size, dropout) for _ in range(network.paths)]
    fc8 = Linear(network.layers[-1].maps * network.paths, classes)
    model = AlexNet(name, paths, fc8, (channels, *size))
    _initialize(model, {layer.name: layer.bias for layer in network.layers})
    if devices is not None:
        model.place(devices)
    return model


def _modules(layer: Layer, inputs: int, dropout: float, dropout_first: bool) -> dict[str, nn.Module]:
    """Return a layer's modules by name: itself with its ReLU (and dropout), its normalisation, its pooling."""
    number = layer.name[-1]
    relu = nn.ReLU(inplace=True)
    if not layer.kernel:
        linear, drop = Linear(inputs, layer.maps), Dropout(dropout)  # scaled in training, not by 0.5 in use
        parts: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        parts |= {"dropout": drop} if dropout_first else {}
        parts |= {"linear": linear, "relu": relu}
        return {layer.name: nn.Sequential(OrderedDict(parts | {"dropout": drop}))}
    conv = Conv(inputs, layer.maps, layer.kernel, stride=layer.stride, padding=_padding(layer))
    modules: dict[str, nn.Module] = {layer.name: nn.Sequential(OrderedDict(conv=conv, relu=relu))}
    if layer.norm:
        # Section 3.3. Each path normalises over its own maps, as the definitions for two GPUs in cuda-convnet do.
        modules[f"norm{number}"] = LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
    if layer.pool:
        modules[f"pool{number}"] = MaxPool(3, stride=2)  # section 3.4: overlapping
    return modules


def _padding(layer: Layer) -> int | tuple[tuple[int, int], tuple[int, int]]:
    return layer.padding if isinstance(layer.padding, int) else (layer.padding, layer.padding)


def _output_size(layer: Layer, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a layer's maps after its pooling; a dense layer's are 1 x 1."""
    if not layer.kernel:
        return 1, 1
    window = make_window(2, layer.kernel, stride=layer.stride, padding=_padding(layer))
    height, width = output_size(size, window)
    if layer.pool:
        height, width = output_size((height, width), make_window(2, 3, stride=2))
    return height, width


def _together(maps: list[Tensor], device: torch.device) -> Tensor:
    """Return the maps of all paths side by side on a device; those that are there already do not move."""
    moved = [part.to(device, non_blocking=True) for part in maps]
    return moved[0] if len(moved) == 1 else torch.cat(moved, 1)


def _require_devices(name: str, devices: Any, paths: int) -> tuple[torch.device, torch.device]:
    if paths != 2:
        raise InputError(f"{name}: has one path and takes no devices; the model 'alexnet' has two")
    if isinstance(devices, str) or not isinstance(devices, Sequence) or len(devices) != 2:
        raise InputError(f"{name}: devices must be two names such as ('cuda:0', 'cuda:1'), got {devices!r}")
    found = []
    for device in devices:
        try:
            found.append(torch.empty(0, device=device).device)
        except (RuntimeError, AssertionError, TypeError):
            raise InputError(f"{name}: there is no device {device!r} here; devices takes names such as 'cpu'") from None
    return found[0], found[1]


def _initialize(model: AlexNet, biases: dict[str, float]) -> None:
    """Section 5: weights from a zero-mean normal distribution of deviation 0.01, biases of some layers 1, else 0."""
    for path in (*model.paths, nn.ModuleDict({"fc8": model.fc8})):
        for name, module in path.named_modules():
            if isinstance(module, Conv | nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.constant_(module.bias, biases.get(name.split(".")[0], 0.0))
