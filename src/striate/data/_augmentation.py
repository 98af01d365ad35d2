"""Pictures changed a little at each epoch, in ways that do not change what they show; keyed, so repeatable."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from striate.data import _geometry as geometry
from striate.data._colour import recolour
from striate.data._erasing import erase
from striate.data._randaugment import MOST, randaugment
from striate.data._randomness import Draw, Keys
from striate.errors import InputError

if TYPE_CHECKING:
    import torch

_NONE: tuple[float, float] = (1.0, 1.0)
_COLOUR = ("brightness", "contrast", "saturation", "hue", "lighting")
_MOST: dict[str, float] = {
    "shift": 1,
    "scale": 10,
    "squeeze": 10,
    "shear": 10,
    "rotate": 180,
    "flip": 1,
    "crop": 10_000,
}
_MOST |= {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5, "lighting": 10}
_MOST |= {"randaugment": 100, "magnitude": MOST, "erase": 1, "noise": 10}


@dataclass(frozen=True)
class Augmentation:
    """How far pictures may be changed; part of a recipe. With its defaults: not at all.

    Each amount is drawn anew for each sample and epoch, uniformly between its two extremes:
    `shift` moves by up to this fraction of the width and, separately, of the height; `scale` 0.1 enlarges or shrinks by
    up to 1.1 times; `squeeze` 0.1 makes it up to 1.1 times wider and as much lower, or the reverse; `shear` moves rows
    sideways by up to this times their height above the centre; `rotate` turns by up to so many degrees; `flip` is the
    probability of a mirror image, left and right exchanged; `crop` cuts the original size out of the picture with so
    many black pixels around it. What comes from outside the picture is black.

    What the network sees is a window of the canvas (see `Preprocessing.crop_to`), anywhere: `zoom` enlarges the canvas
    by a factor between these two before the window is cut; `area` takes windows of any size between these two shares of
    the canvas, up to `aspect` times wider than high or the reverse (its logarithm is uniform), and resamples them. A
    window never reaches beyond the canvas.

    `brightness`, `contrast` and `saturation` 0.5 multiply by 0.5 to 1.5 the distance from black, from the mean grey and
    from grey, in a drawn order; then `hue` turns all colours by up to so many turns of the colour circle; `lighting`
    adds one colour to all pixels, normally distributed along the principal axes of ImageNet's colours with this times
    their standard deviations.

    `randaugment` is the number of operations that RandAugment (Cubuk et al. 2020) draws for each picture, before these
    colours, from a list of 14 (`striate.data.OPERATIONS`), all as strong as `magnitude`, 0 to 10, says. `erase` is the
    probability with which a rectangle of `erase_area`, two shares of the picture, is filled with noise at the very end
    (random erasing, Zhong et al. 2020).

    Series know `shift`, `scale` and `noise`: see `augment_signals`.
    """

    shift: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    rotate: float = 0.0
    flip: float = 0.0
    crop: int = 0
    zoom: tuple[float, float] = _NONE
    area: tuple[float, float] = _NONE
    aspect: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    lighting: float = 0.0
    hue: float = 0.0
    randaugment: int = 0
    magnitude: float = 9.0
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.4)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in _MOST.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise InputError(f"augmentation: {name} must be from 0 to {limit:g}, got {value}")
        if self.crop != int(self.crop):
            raise InputError(f"augmentation: crop must be a whole number of pixels, got {self.crop}")
        if self.randaugment != int(self.randaugment):
            raise InputError(f"augmentation: randaugment must be a whole number of operations, got {self.randaugment}")
        for name, limit in {"zoom": 100, "area": 1, "erase_area": 1}.items():
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= limit:
                raise InputError(
                    f"augmentation: {name} must be two numbers above 0 and up to {limit}, the smaller first, got {pair}"
                )
        if not 1 <= self.aspect <= 100:
            raise InputError(f"augmentation: aspect must be from 1 to 100, got {self.aspect}")
        if self.zoom != _NONE and (self.area != _NONE or self.aspect != 1):
            raise InputError("augmentation: zoom and area are two ways to choose a window, use one of them")
        if self.crop and self.windows:
            raise InputError("augmentation: crop moves a window of fixed size, leave it 0 with zoom, area or aspect")

    def require_kind(self, kind: str) -> None:
        """Raise InputError for a setting of pictures where series are changed, and the reverse."""
        for field in fields(self):
            fits = field.name != "noise" if kind == "pictures" else field.name in {"shift", "scale", "noise"}
            if not fits and getattr(self, field.name) != field.default:
                raise InputError(
                    f"augmentation: {field.name} is no change for {kind}"
                    + ("" if kind == "pictures" else ": these take shift, scale and noise")
                )

    @property
    def distorts(self) -> bool:
        """Whether pictures are moved, scaled, sheared or turned."""
        return any((self.shift, self.scale, self.squeeze, self.shear, self.rotate))

    @property
    def windows(self) -> bool:
        """Whether windows of different sizes are resampled."""
        return self.zoom != _NONE or self.area != _NONE or self.aspect != 1


LENET_DISTORTIONS = Augmentation(shift=0.06, scale=0.1, squeeze=0.1, shear=0.2)
"""The distortions of LeCun et al. 1998, section III-C: "planar affine transformations: horizontal and vertical
translations, scaling, squeezing (simultaneous horizontal compression and vertical elongation, or the reverse), and
horizontal shearing". The paper does not say how much; the amounts are ours: two pixels of 32, 10 per cent, 11 degrees.
"""


def augment(
    canvas: "torch.Tensor",
    keys: Keys,
    *,
    seed: int,
    epoch: int,
    options: Augmentation,
    size: tuple[int, int] | None = None,
) -> "torch.Tensor":
    """Return the pictures (N x C x H x W, float32 or float64, black = 0) changed as `options` allow.

    `size` (height, width) is that of the result; None: as it is. What happens to a sample depends on (seed, epoch, its
    key) alone, to the last bit on a CPU: not on its batch. Affine changes and windows are one bilinear resampling;
    mirroring and cropping move pixels exactly; then come RandAugment, colours and, last, erasing. The input stays as it
    is.
    """
    if canvas.ndim != 4 or not canvas.is_floating_point() or canvas.element_size() < 4:
        raise InputError(
            f"augment: expected float32 or float64 pictures N x C x H x W, got {canvas.dtype} of shape "
            f"{tuple(canvas.shape)}"
        )
    if len(keys) != len(canvas):
        raise InputError(f"augment: expected one key per picture, got {len(keys)} keys for {len(canvas)} pictures")
    height, width = canvas.shape[2:]
    size = size or (height, width)
    if size[0] > height or size[1] > width:
        raise InputError(f"augment: no window of {size[0]} x {size[1]} fits into pictures of {height} x {width}")
    if not len(canvas):
        return canvas[:, :, : size[0], : size[1]]
    draw = Draw(seed, epoch, keys)
    canvas = geometry.move(canvas, draw, options, size)
    if options.randaugment:
        canvas = randaugment(canvas, draw, options)
    if any(getattr(options, name) for name in _COLOUR):
        canvas = recolour(canvas, draw, options)
    if options.erase:
        canvas = erase(canvas, draw, options)
    return canvas
