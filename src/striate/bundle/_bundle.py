"""A trained model in one file: what it consists of, writing it, reading it."""

import datetime
import functools
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from striate.bundle._archive import parse_json, read_archive, write_archive
from striate.bundle._predict import Prediction, predictions
from striate.bundle._prepared import prepare
from striate.bundle._segment import Segmented, segmented
from striate.bundle._sources import find_images
from striate.data import (
    SERIES_ENDINGS,
    ClassMap,
    Masks,
    Preparation,
    SignalPreprocessing,
    preparation_from_json,
    require_pictures,
)
from striate.errors import InputError, StriateError
from striate.evaluation import dense_logits, logits_of
from striate.models import build
from striate.models._card import Task
from striate.runtime import current

WEIGHTS, GOLDEN, README = "weights.safetensors", "golden.safetensors", "README.txt"
MODEL, LABELS, PREPROCESSING = "model.json", "labels.json", "preprocessing.json"
CALIBRATION, METRICS, PROVENANCE = "calibration.json", "metrics.json", "provenance.json"
PARTS = frozenset({WEIGHTS, GOLDEN, README, MODEL, LABELS, PREPROCESSING, CALIBRATION, METRICS, PROVENANCE})

_GOLDEN_BATCH = 16
_GOLDEN_PLACES = 24  # each way, at most
_README_TEXT = """\
This is a trained {kind}, {name!r} with {classes} classes, written by Striate {striate}.
weights.safetensors holds its parameters, labels.json the class of each output, preprocessing.json how a picture or
a series becomes its input, calibration.json the temperature of its probabilities, metrics.json what it is worth and
provenance.json where it comes from; golden.safetensors holds pictures with the outputs that the model gave for them,
and manifest.json the SHA-256 of each part. With Striate installed, `striate verify FILE` checks it and
`striate predict FILE PICTURES` uses it; docs/bundle.md of Striate describes the format. Do not repack it: a bundle is
valid only as the file that was written.
"""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained network with everything needed to use, check and trust it: a classifier, or one that labels pixels."""

    path: Path
    model_name: str
    model_options: dict[str, Any]
    classes: ClassMap
    preprocessing: Preparation
    temperature: float  # calibrated probabilities are softmax(logits / temperature)
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    state: dict[str, Tensor] = field(repr=False)
    golden_images: npt.NDArray[Any] = field(repr=False)  # pictures uint8 N x C x h x w, or series float32 N x C x T
    golden_logits: npt.NDArray[np.float32] = field(repr=False)  # N x K; of masks N x K x h x w, some of the places
    masks: Masks | None = None  # how the classes are stored in masks; None: a picture has one label

    @property
    def task(self) -> Task:
        """What the network is for."""
        return "classification" if self.masks is None else "segmentation"

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network with its weights, in evaluation mode; built when first asked for, on the CPU."""
        return _build(
            str(self.path),
            name=self.model_name,
            options=self.model_options,
            classes=self.classes,
            preprocessing=self.preprocessing,
            state=self.state,
        )

    @functools.cached_property
    def prepared(self) -> nn.Module:
        """The network made ready to predict: the logits of `model` to rounding, faster; made when first asked for."""
        return prepare(self.model)

    @functools.cached_property
    def prepared_bf16(self) -> nn.Module:
        """The network made ready to predict in bfloat16; made when first asked for."""
        return prepare(self.model, "bf16")

    def network(self) -> nn.Module:
        """Return what computes the network best within the current runtime: it prepared, or as it is.

        Small networks are computed as one, which is faster than prepared; "exact" and without Striate's kernels the
        network is computed as it is.
        """
        runtime = current()
        if runtime is None:
            return self.prepared
        as_one = runtime.network(self.model, self.preprocessing.input_size) is not self.model
        if as_one or runtime.precision == "exact" or runtime.native is None:
            return self.model
        return self.prepared_bf16 if runtime.precision == "bf16" else self.prepared

    def predict(
        self,
        sources: str | Path | Iterable[str | Path],
        *,
        batch_size: int = 64,
        top: int = 3,
        threads: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict picture files, folders and patterns (see `find_images`): an iterator in their order.

        Probabilities are calibrated. The network computes as the current runtime says (`striate.runtime`), outside of
        any in float32. A picture that cannot be read is a Prediction with an error; the rest goes on.
        Pictures are decoded in `threads` threads (default: the processors, at most 8), a batch ahead of the network;
        memory does not grow with their number. `top` is how many classes to tell. Raises InputError before the first
        prediction if the arguments are no good or the network labels pixels.
        """
        if self.masks is not None:
            raise InputError("predict: this network gives a mask for each picture: use `segment`")
        for name, value in (("batch_size", batch_size), ("top", top), ("threads", 1 if threads is None else threads)):
            if value < 1:
                raise InputError(f"predict: {name} must be 1 or more, got {value}")
        series = isinstance(self.preprocessing, SignalPreprocessing)
        paths = find_images(sources, SERIES_ENDINGS, "series") if series else find_images(sources)
        return predictions(self, paths, batch_size, top, threads or min(8, os.cpu_count() or 1))

    def segment(
        self, sources: str | Path | Iterable[str | Path], *, crf: bool = False, threads: int | None = None
    ) -> Iterator[Segmented]:
        """Label the pixels of picture files, folders and patterns (see `find_images`): an iterator in their order.

        A mask has its picture's own size. `crf` lets it follow the edges of the picture by a dense conditional random
        field (`striate.models.dense_crf`), at the network's size. A picture that cannot be read is a Segmented with an
        error; the rest goes on. Raises InputError before the first one if the arguments are no good or the network
        gives a label per picture.
        """
        if self.masks is None:
            raise InputError("segment: this network gives one label for each picture: use `predict`")
        if threads is not None and threads < 1:
            raise InputError(f"segment: threads must be 1 or more, got {threads}")
        return segmented(self, find_images(sources), crf=crf, threads=threads or min(8, os.cpu_count() or 1))


def save(
    path: str | Path,
    *,
    model_name: str,
    model_options: Mapping[str, Any],
    state: Mapping[str, Tensor],
    classes: ClassMap,
    preprocessing: Preparation,
    temperature: float,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    golden_images: npt.NDArray[Any],
    masks: Masks | None = None,
) -> None:
    """Write a trained model as one file, atomically.

    `model_options` are those of `models.build` besides classes, channels and size, which follow from `classes` and
    `preprocessing`. `golden_images` (as a split loads them, at least one) are stored with the logits that the model
    gives for them on this machine: the network is built anew from exactly what is written, so a bundle that could not
    be loaded is never written. `masks` says how the classes of a segmentation are stored. `metrics` and `provenance`
    are any JSON values; the versions and the time are added.
    Raises InputError for parts that do not fit together.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"bundle: temperature must be a finite number above 0, got {temperature}")
    if not len(golden_images):
        raise InputError("bundle: golden_images is empty, give at least one picture to verify the bundle with")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}  # no shared memory
    model = _build(
        "bundle",
        name=model_name,
        options=model_options,
        classes=classes,
        preprocessing=preprocessing,
        state=tensors,
    )
    logits = golden_logits(model, golden_images, preprocessing, dense=masks is not None)
    if not np.isfinite(logits).all():
        raise StriateError("bundle: the model's outputs are not finite, it has diverged; there is nothing to ship")
    parts_of_golden = {"images": golden_images, "logits": logits}
    golden = {name: np.ascontiguousarray(values) for name, values in parts_of_golden.items()}  # as safetensors needs
    about: dict[str, Any] = {"name": model_name, "options": dict(model_options), "input_size": preprocessing.input_size}
    if masks is not None:
        about |= {"task": "segmentation", "masks": masks.to_json()}
    created = _environment()
    parts = {
        README: _README_TEXT.format(
            kind="classifier" if masks is None else "network for segmentation",
            name=model_name,
            classes=len(classes),
            striate=created["striate"],
        ).encode(),
        MODEL: _json(MODEL, about),
        LABELS: _json(LABELS, classes.to_json()),
        PREPROCESSING: _json(PREPROCESSING, preprocessing.to_json()),
        CALIBRATION: _json(CALIBRATION, {"method": "temperature", "temperature": temperature}),
        METRICS: _json(METRICS, metrics),
        PROVENANCE: _json(PROVENANCE, {**provenance, "bundled": created}),
        WEIGHTS: safetensors.torch.save(tensors),
        GOLDEN: safetensors.numpy.save(golden),
    }
    write_archive(Path(path), parts)


def load(path: str | Path) -> Bundle:
    """Read a bundle; raises InputError with one sentence unless it is whole, unchanged and consistent.

    The network is built when `.model` is first asked for.
    """
    path = Path(path)
    parts = read_archive(path, PARTS)
    values = {name: parse_json(path, name, data) for name, data in parts.items() if name.endswith(".json")}
    try:
        bundle = Bundle(
            path=path,
            model_name=values[MODEL]["name"],
            model_options=values[MODEL]["options"],
            classes=ClassMap.from_json(values[LABELS]),
            preprocessing=preparation_from_json(values[PREPROCESSING]),
            temperature=float(values[CALIBRATION]["temperature"]),
            metrics=values[METRICS],
            provenance=values[PROVENANCE],
            state=safetensors.torch.load(parts[WEIGHTS]),
            golden_images=(golden := safetensors.numpy.load(parts[GOLDEN]))["images"],
            golden_logits=golden["logits"],
            masks=_masks(values[MODEL]),
        )
        _check(bundle)
    except (InputError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the bundle's parts do not fit together ({error})") from error
    return bundle


def golden_logits(
    model: nn.Module,
    images: npt.NDArray[Any],
    preprocessing: Preparation,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    dense: bool = False,
) -> npt.NDArray[np.float32]:
    """Run the golden pictures in batches of a fixed size, when a bundle is saved and when it is verified.

    `dense`: the network labels pixels; of its logits those of `golden_places` are kept.
    """
    parts = []
    for start in range(0, len(images), _GOLDEN_BATCH):
        batch = images[start : start + _GOLDEN_BATCH]
        if dense:
            pictures = require_pictures(preprocessing)
            rows, columns = (golden_places(n) for n in pictures.size)
            logits = [dense_logits(model, batch[k : k + 1], pictures).cpu().numpy() for k in range(len(batch))]
            parts.append(np.concatenate(logits)[:, :, rows][..., columns])
        else:
            parts.append(logits_of(model, batch, preprocessing))
        if progress is not None:
            progress(min(start + _GOLDEN_BATCH, len(images)), len(images), "verifying")
    return np.concatenate(parts)


def golden_places(n: int) -> npt.NDArray[np.int64]:
    """Return the rows (or columns) of n whose logits are golden: every ceil(n / 24)-th, from the first on."""
    return np.arange(0, n, -(-n // _GOLDEN_PLACES))


def _masks(about: dict[str, Any]) -> Masks | None:
    task = about.get("task", "classification")
    if task not in {"classification", "segmentation"}:
        raise InputError(f"a network for {task!r}, which this version does not know")
    return Masks.from_json(about["masks"]) if task == "segmentation" else None


def _check(bundle: Bundle) -> None:
    images, logits, pre = bundle.golden_images, bundle.golden_logits, bundle.preprocessing
    if not pre.fits(images) or not len(images):
        raise InputError(f"golden images {images.dtype} {images.shape} for samples {pre.sample_size}")
    expected: tuple[int, ...] = (len(images), len(bundle.classes))
    places = ""
    if bundle.masks is not None:
        at = [len(golden_places(n)) for n in require_pictures(pre).size]
        expected, places = (*expected, *at), f" at {at[0]} x {at[1]} places"
        if len(bundle.masks.values) != len(bundle.classes):
            raise InputError(f"masks of {len(bundle.masks.values)} classes for {len(bundle.classes)}")
    if logits.dtype != np.float32 or logits.shape != expected:
        raise InputError(
            f"golden logits {logits.dtype} {logits.shape} for {len(images)} x {len(bundle.classes)} classes{places}"
        )
    if not np.isfinite(logits).all():
        raise InputError("golden logits that are not finite")
    if not (math.isfinite(bundle.temperature) and bundle.temperature > 0):
        raise InputError(f"temperature {bundle.temperature}")
    if not isinstance(bundle.model_name, str) or not isinstance(bundle.model_options, dict):
        raise InputError(f"model {bundle.model_name!r} with options {bundle.model_options!r}")


def _build(
    what: str,
    *,
    name: str,
    options: Mapping[str, Any],
    classes: ClassMap,
    preprocessing: Preparation,
    state: Mapping[str, Tensor],
) -> nn.Module:
    """Build the network and give it its weights; the caller's random state is left alone."""
    channels, *size = preprocessing.input_size
    try:
        with torch.random.fork_rng(devices=[]):
            model = build(name, classes=len(classes), channels=channels, size=tuple(size), **options)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:  # options may be anything
        raise InputError(f"{what}: the network cannot be built ({error})") from error
    own = model.state_dict()
    wrong = [f"lacks {key!r}" for key in own if key not in state]
    wrong += [f"has {key!r}, which the network has not" for key in state if key not in own]
    wrong += [
        f"has {key!r} as {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more differences)" if len(wrong) > 3 else ""
        raise InputError(f"{what}: the weights are not those of the network {name!r}: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(dict(state))
    return model.eval()


def _json(part: str, value: object) -> bytes:
    try:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"bundle: {part} must be made of JSON values without NaN ({error})") from error


def _environment() -> dict[str, str]:
    try:
        striate = version("striate")
    except PackageNotFoundError:  # used from its source folder
        striate = "unknown"
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "striate": striate,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
    }
