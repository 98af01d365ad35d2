"""From a series of numbers to what a network sees: the same at training, evaluation and prediction."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from striate.data._preprocessing import Preparation, Preprocessing
from striate.data._randomness import Draw, Keys
from striate.errors import InputError

if TYPE_CHECKING:
    import torch

    from striate.data._augmentation import Augmentation

Standardize = Literal["given", "training", "series"]
KIND = "signals"  # in the JSON of what prepares series; pictures have no such key


@final
@dataclass(frozen=True)
class SignalPreprocessing(Preparation):
    """How a series of so many channels becomes network input; stored in every run and bundle.

    A series is brought to `length` as float32 C x T: "pad" keeps its beginning, and where it is shorter NaN stands for
    what is not there; "stretch" resamples it linearly, the ends staying ends. Then, per channel, (value - mean) / std
    is taken, with the `mean` and `std` "given", or with those of each "series" (a channel that does not change becomes
    0). What is not there becomes 0.
    """

    channels: int
    length: int
    fit: Literal["pad", "stretch"] = "pad"
    standardization: Literal["given", "series"] = "given"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    dtype = np.float32

    def __post_init__(self) -> None:
        for name, value in (("channels", self.channels), ("length", self.length)):
            if value < 1:
                raise InputError(f"preprocessing: {name} of series must be 1 or more, got {value}")
        if self.fit not in {"pad", "stretch"}:
            raise InputError(f"preprocessing: fit of series must be 'pad' or 'stretch', got {self.fit!r}")
        for word, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise InputError(f"preprocessing: {word} needs 1 or {self.channels} numbers, got {values}")
        if min(self.std) <= 0:
            raise InputError(f"preprocessing: std must be above 0, got {self.std}")

    @property
    def sample_size(self) -> tuple[int, int]:
        """Channels and length of a series."""
        return (self.channels, self.length)

    @property
    def input_size(self) -> tuple[int, int]:
        """Channels and length of what the network gets."""
        return (self.channels, self.length)

    def fitted(self, series: NDArray[np.float64]) -> NDArray[np.float32]:
        """Bring a series (T x C, T at least 1) to the length: float32 C x length."""
        if self.fit == "stretch":
            places = np.linspace(0, len(series) - 1, self.length)
            columns = [np.interp(places, np.arange(len(series)), column) for column in series.T]
            return np.stack(columns).astype(np.float32)
        found = np.full((self.channels, self.length), np.nan, np.float32)
        kept = series[: self.length]
        found[:, : len(kept)] = kept.T
        return found

    def canvas(self, samples: "torch.Tensor") -> "torch.Tensor":
        """Standardise series (N x C x T), 0 where they have no value."""
        if self.standardization == "series":
            mean = samples.nanmean(2, keepdim=True)
            std = (samples - mean).square().nanmean(2, keepdim=True).sqrt()
            std = std.where(std > 1e-6 * mean.abs(), std.new_full((), float("inf")))  # it does not change
        else:
            mean = samples.new_tensor(self.mean).view(1, -1, 1)
            std = samples.new_tensor(self.std).view(1, -1, 1)
        return ((samples - mean) / std).nan_to_num(nan=0.0)

    def standardize(self, canvas: "torch.Tensor") -> "torch.Tensor":
        """Return the canvas, which is standardised already: augmentation counts in standard deviations."""
        return canvas

    def __call__(self, samples: "torch.Tensor") -> "torch.Tensor":
        """Turn series (N x C x T, of the length, NaN where there is nothing) into network input."""
        return self.canvas(samples)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which `preparation_from_json` makes an equal object."""
        return {"kind": KIND, **asdict(self)}


def preparation_from_json(values: dict[str, Any]) -> Preparation:
    """Make what prepares pictures or series from its `to_json`; raises InputError if it is none."""
    if not isinstance(values, dict) or values.get("kind") != KIND:
        return Preprocessing.from_json(values)
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "kind"}
    try:
        return SignalPreprocessing(**arguments)
    except TypeError as error:
        raise InputError(f"preprocessing: not a description this version understands ({error})") from error


def augment_signals(
    canvas: "torch.Tensor", keys: Keys, *, seed: int, epoch: int, options: "Augmentation"
) -> "torch.Tensor":
    """Return standardised series (N x C x T) changed as `shift`, `scale` and `noise` of `options` allow.

    `shift` moves by up to this fraction of the length, 0 coming in; `scale` 0.1 multiplies all values by up to 1.1, or
    divides; `noise` adds numbers of this standard deviation. All of a sample depends on (seed, epoch, its key) alone.
    """
    import torch

    draw = Draw(seed, epoch, keys)
    count, channels, length = canvas.shape
    if options.shift and count:
        steps = torch.from_numpy(np.rint(draw.signed("shift") * options.shift * length)).long().to(canvas.device)
        source = torch.arange(length, device=canvas.device) - steps[:, None]
        inside = (source >= 0) & (source < length)
        source = source.clamp(0, length - 1)[:, None].expand(-1, channels, -1)
        canvas = canvas.gather(2, source) * inside[:, None]
    if options.scale and count:
        factors = (1 + options.scale) ** draw.signed("scale")
        canvas = canvas * torch.from_numpy(factors).to(canvas)[:, None, None]
    if options.noise and count:
        noise = draw.normals("noise", channels * length).reshape(canvas.shape)
        canvas = canvas + options.noise * torch.from_numpy(noise).to(canvas)
    return canvas
