"""From a decoded picture to the numbers a network sees: the same at training, evaluation and prediction."""

import operator
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from striate.errors import InputError

if TYPE_CHECKING:
    import torch

Fit = Literal["stretch", "crop", "pad"]


class Preparation(ABC):
    """How a sample becomes network input, in two steps that are the same wherever a network is used.

    A file becomes an array of `sample_size` and type `dtype`; batches of these become input of `input_size`: the
    canvas, on which augmentation works, then what is left to do, `standardize`.
    """

    dtype: type[np.generic]

    @property
    @abstractmethod
    def sample_size(self) -> tuple[int, ...]:
        """Channels and size of a sample."""

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, ...]:
        """Channels and size of what the network gets."""

    @abstractmethod
    def canvas(self, samples: "torch.Tensor") -> "torch.Tensor":
        """Return samples as float32 values that augmentation changes."""

    @abstractmethod
    def standardize(self, canvas: "torch.Tensor") -> "torch.Tensor":
        """Return a canvas, changed or not, as network input."""

    @abstractmethod
    def __call__(self, samples: "torch.Tensor") -> "torch.Tensor":
        """Turn samples into network input."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, from which `preparation_from_json` makes an equal object."""

    def blank(self, count: int) -> NDArray[Any]:
        """Return so many samples of zeros."""
        return np.zeros((count, *self.sample_size), self.dtype)

    def fits(self, samples: NDArray[Any]) -> bool:
        """Whether an array holds samples, N of the size and type."""
        return samples.dtype == self.dtype and samples.shape[1:] == self.sample_size


@final
@dataclass(frozen=True)
class Preprocessing(Preparation):
    """How a picture becomes network input; stored in every run and bundle.

    A picture is brought to `size` (height, width) in `channels` (1 grey, 3 RGB) as uint8: "stretch" ignores the aspect
    ratio, "crop" fills the size and cuts the overhang, "pad" fits inside and fills with black. Then `border` black
    pixels are put around it, and values are scaled to 0..1: the canvas. With `crop_to` (height, width) the network sees
    the middle of the canvas only (in training a window anywhere in it). Per channel (value - mean) / std is taken.
    """

    channels: int
    size: tuple[int, int]
    fit: Fit = "stretch"
    border: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    crop_to: tuple[int, int] | None = None

    dtype = np.uint8

    def __post_init__(self) -> None:
        if self.channels not in {1, 3}:
            raise InputError(f"preprocessing: channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"preprocessing: size must be two positive numbers (height, width), got {self.size}")
        if self.fit not in {"stretch", "crop", "pad"}:
            raise InputError(f"preprocessing: fit must be 'stretch', 'crop' or 'pad', got {self.fit!r}")
        if self.border < 0:
            raise InputError(f"preprocessing: border must be 0 or more pixels, got {self.border}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise InputError(f"preprocessing: {name} needs 1 or {self.channels} numbers, got {values}")
        if min(self.std) <= 0:
            raise InputError(f"preprocessing: std must be above 0, got {self.std}")
        if self.crop_to is not None:
            whole = (self.size[0] + 2 * self.border, self.size[1] + 2 * self.border)
            if len(self.crop_to) != 2 or min(self.crop_to) < 1 or any(map(operator.gt, self.crop_to, whole)):
                raise InputError(
                    f"preprocessing: crop_to must be (height, width) of 1 x 1 to {whole[0]} x {whole[1]}, the size "
                    f"with its border, or none, got {self.crop_to}"
                )

    @property
    def sample_size(self) -> tuple[int, int, int]:
        """Channels, height and width of a decoded picture."""
        return (self.channels, *self.size)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network gets."""
        if self.crop_to is not None:
            return (self.channels, *self.crop_to)
        return (self.channels, self.size[0] + 2 * self.border, self.size[1] + 2 * self.border)

    def canvas(self, images: "torch.Tensor") -> "torch.Tensor":
        """Put the border around uint8 images (N x C x h x w) and scale them to float32 in 0..1 (N x C x H x W)."""
        from torch.nn.functional import pad

        scaled = images.float().div_(255.0)
        return pad(scaled, (self.border,) * 4) if self.border else scaled

    def middle(self, canvas: "torch.Tensor") -> "torch.Tensor":
        """Return the part of a canvas (N x C x H x W) that the network sees: with odd spare pixels, the upper left."""
        _, height, width = self.input_size
        top, left = (canvas.shape[2] - height) // 2, (canvas.shape[3] - width) // 2
        return canvas[:, :, top : top + height, left : left + width]

    def standardize(self, canvas: "torch.Tensor") -> "torch.Tensor":
        """Take (value - mean) / std per channel of images in 0..1."""
        mean = canvas.new_tensor(self.mean).view(1, -1, 1, 1)
        std = canvas.new_tensor(self.std).view(1, -1, 1, 1)
        return (canvas - mean) / std

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Turn uint8 images (N x C x h x w, already at `size`) into network input, float32 N x C x H x W."""
        seen = images if self.border else self.middle(images)  # before they become floats: less memory
        return self.standardize(self.middle(self.canvas(seen)))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which `from_json` makes an equal object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """Make a Preprocessing from `to_json`'s dictionary; raises InputError for unknown or missing keys."""
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InputError(f"preprocessing: not a description this version understands ({error})") from error


def require_pictures(preparation: Preparation) -> Preprocessing:
    """Return what prepares pictures; raises InputError for what prepares series."""
    if not isinstance(preparation, Preprocessing):
        raise InputError("masks are of pictures; these data are series")
    return preparation
