"""What a recipe says about its data."""

from dataclasses import dataclass, replace
from typing import Literal

from striate.data._preprocessing import Fit, Preparation, Preprocessing
from striate.data._signals import SignalPreprocessing, Standardize
from striate.errors import InputError


@dataclass(frozen=True)
class DataOptions:
    """How pictures become input and how samples are divided; part of a recipe.

    The first seven are those of `Preprocessing`. Where the source has no validation (test) split, `val_fraction`
    (`test_fraction`) of its images are set aside, class by class: of the training files where those are given, else of
    all. `unreadable` says what a file that cannot be decoded means: "error", or "skip" it and report it. `exclude`
    names files of a folder that are left out, by their paths below it with "/" (see `read_exclusion`).

    With `kind` "signals" the data are series: `channels` columns (0: as many as the first has), brought to `length` (0:
    that of the longest to train on) by `fit`, "pad" or "stretch", and standardised as `standardize` says: by the `mean`
    and `std` "given", by those of the "training" split, or each by those of its own "series".
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
    kind: Literal["pictures", "signals"] = "pictures"
    length: int = 0
    standardize: Standardize = "given"

    def __post_init__(self) -> None:
        if self.kind == "signals":
            self._require_signals()
        else:
            self.preprocessing()
            if self.length or self.standardize != "given":
                raise InputError("data: length and standardize are settings of series: use them with data.kind=signals")
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

    def preparation(self) -> Preparation:
        """Return the way from a picture or a series to input that these options describe.

        Raises InputError for series whose length and channels are still those of data that has not been opened.
        """
        if self.kind == "pictures":
            return self.preprocessing()
        if not self.resolved:
            raise InputError(
                "data: length, channels and deviations of series are known when they are opened: open the data first"
            )
        fit: Literal["pad", "stretch"] = "stretch" if self.fit == "stretch" else "pad"
        own: Literal["given", "series"] = "series" if self.standardize == "series" else "given"
        return SignalPreprocessing(self.channels, self.length, fit, own, self.mean, self.std)

    def preprocessing(self) -> Preprocessing:
        """Return the way from a picture to input that these options describe; raises InputError for series."""
        if self.kind != "pictures":
            raise InputError("data: these are options of series, not of pictures (data.kind)")
        return Preprocessing(self.channels, self.size, self.fit, self.border, self.mean, self.std, self.crop_to)

    @property
    def resolved(self) -> bool:
        """Whether nothing is left to be read off the data."""
        return self.kind == "pictures" or (self.channels > 0 and self.length > 0 and self.standardize != "training")

    def like(self, prepared: Preparation) -> "DataOptions":
        """Return these options with those settings that lead to what prepares a model's input."""
        if isinstance(prepared, Preprocessing):
            own = {
                name: getattr(prepared, name)
                for name in ("channels", "size", "fit", "border", "mean", "std", "crop_to")
            }
            return replace(self, kind="pictures", length=0, standardize="given", **own)
        assert isinstance(prepared, SignalPreprocessing)
        own = {name: getattr(prepared, name) for name in ("channels", "length", "fit", "mean", "std")}
        own |= {name: getattr(DataOptions, name) for name in ("size", "border", "crop_to")}
        return replace(self, kind="signals", standardize=prepared.standardization, **own)

    def _require_signals(self) -> None:
        if self.channels < 0 or self.length < 0:
            raise InputError(
                f"data: channels and length of series must be 0 (as the files have them) or more, got {self.channels} "
                f"and {self.length}"
            )
        if self.fit == "crop":
            raise InputError("data: fit of series must be 'pad' or 'stretch', got 'crop'")
        for name in ("size", "border", "crop_to"):
            if getattr(self, name) != getattr(DataOptions, name):
                raise InputError(f"data: {name} is a setting of pictures; the length of series is data.length")
        if self.task != "classification":
            raise InputError(f"data: series have one label each, task must be 'classification', got {self.task!r}")
        if self.standardize not in {"given", "training", "series"}:
            raise InputError(f"data: standardize must be 'given', 'training' or 'series', got {self.standardize!r}")
        if self.resolved:
            self.preparation()
