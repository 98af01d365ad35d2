"""What a recipe says about its data."""

from dataclasses import dataclass
from typing import Literal

from striate.data._preprocessing import Fit, Preprocessing
from striate.errors import InputError


@dataclass(frozen=True)
class DataOptions:
    """How pictures become input and how samples are divided; part of a recipe.

    The first seven are those of `Preprocessing`. Where the source has no validation (test) split, `val_fraction`
    (`test_fraction`) of its images are set aside, class by class: of the training files where those are given, else of
    all. `unreadable` says what a file that cannot be decoded means: "error", or "skip" it and report it. `exclude`
    names files of a folder that are left out, by their paths below it with "/" (see `read_exclusion`).
    """

    channels: int = 1
    size: tuple[int, int] = (28, 28)
    fit: Fit = "stretch"
    border: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    crop_to: tuple[int, int] | None = None
    val_fraction: float = 1 / 12
    test_fraction: float = 1 / 6
    unreadable: Literal["error", "skip"] = "error"
    exclude: tuple[str, ...] = ()
    task: Literal["classification", "segmentation"] = "classification"
    void: int = 255

    def __post_init__(self) -> None:
        self.preprocessing()
        if self.task not in {"classification", "segmentation"}:
            raise InputError(f"data: task must be 'classification' or 'segmentation', got {self.task!r}")
        if self.task == "segmentation" and self.fit == "crop":
            raise InputError("data: fit must be 'stretch' or 'pad' for segmentation, 'crop' loses pixels to be judged")
        if not 0 <= self.void <= 255:
            raise InputError(f"data: void must be a label from 0 to 255, got {self.void}")
        for name, value in (("val_fraction", self.val_fraction), ("test_fraction", self.test_fraction)):
            if not 0 < value < 1:
                raise InputError(f"data: {name} must be above 0 and below 1, got {value}")
        if self.val_fraction + self.test_fraction >= 1:
            raise InputError(
                f"data: val_fraction and test_fraction must leave something to train on, got {self.val_fraction} and "
                f"{self.test_fraction}"
            )
        if self.unreadable not in {"error", "skip"}:
            raise InputError(f"data: unreadable must be 'error' or 'skip', got {self.unreadable!r}")

    def preprocessing(self) -> Preprocessing:
        """Return the way from a picture to input that these options describe."""
        return Preprocessing(self.channels, self.size, self.fit, self.border, self.mean, self.std, self.crop_to)
