"""A recipe: everything that decides what a training run computes, as one frozen value."""

import contextlib
import dataclasses
import json
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from striate.data import Augmentation, DataOptions, Sampling
from striate.errors import InputError, did_you_mean

T = TypeVar("T")
ClassWeights = Literal["none", "balanced", "root"]


@dataclass(frozen=True)
class ModelOptions:
    """Which network: a name of `striate.models` and its builder's options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossOptions:
    """What is minimised.

    "cross_entropy": softmax with `label_smoothing` (Szegedy et al. 2016). "rbf_mse" and "rbf_map": the two criteria of
    LeCun et al. 1998, equations (8) and (9), for networks whose logits are minus squared distances; `rbf_map`'s
    constant e^-j is the penalty of a rubbish class at distance `j`. `class_weights` multiplies each target's part of
    the cross-entropy by a weight of its class: "balanced" by one over its number in the training split, "root" by the
    root of that; 1 in the mean over the split. Evaluation is never weighted.
    """

    name: Literal["cross_entropy", "rbf_mse", "rbf_map"] = "cross_entropy"
    label_smoothing: float = 0.0
    j: float = 1.0
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        _require(0.0 <= self.label_smoothing < 1.0, "loss.label_smoothing", "at least 0 and below 1", self)
        _require(
            self.class_weights == "none" or self.name == "cross_entropy",
            "loss.class_weights",
            "none with an RBF loss",
            self,
        )
        _require(
            self.label_smoothing == 0.0 or self.name == "cross_entropy",
            "loss.label_smoothing",
            "0 with an RBF loss",
            self,
        )


@dataclass(frozen=True)
class OptimizerOptions:
    """How weights move: "sgd" with momentum, "rmsprop" with momentum, or "adamw" (decoupled weight decay).

    `beta2` is the decay of the mean squared gradient and `epsilon` what is added to its root ("rmsprop", "adamw").
    Weight decay spares biases and norms, unless `decay_all`: then it is the plain L2 penalty of the older papers.
    `layer_decay` multiplies the rate once for every layer that lies between a layer and the output.
    """

    name: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decay_all: bool = False
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0: no clipping
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        _require(self.lr > 0.0, "optimizer.lr", "above 0", self)
        _require(0.0 <= self.momentum < 1.0, "optimizer.momentum", "at least 0 and below 1", self)
        _require(0.0 <= self.beta2 < 1.0, "optimizer.beta2", "at least 0 and below 1", self)
        _require(self.epsilon > 0.0, "optimizer.epsilon", "above 0", self)
        _require(self.weight_decay >= 0.0, "optimizer.weight_decay", "0 or more", self)
        _require(self.clip_norm >= 0.0, "optimizer.clip_norm", "0 or more", self)
        _require(0.0 < self.layer_decay <= 1.0, "optimizer.layer_decay", "above 0 and at most 1", self)
        _require(not self.nesterov or self.momentum > 0.0, "optimizer.nesterov", "false without momentum", self)


@dataclass(frozen=True)
class ScheduleOptions:
    """The learning rate over time, counted in epochs.

    First `warmup` epochs in which it rises linearly from 0, or stays at `warmup_rate` of the rate if that is not 0.
    Then "cosine" or "polynomial" (of degree `power`) down to `final` of the rate, "step" (times `gamma` at each of the
    `milestones`), "exponential" (times `gamma` after `every` so many epochs), "plateau" (times `gamma` whenever `wait`
    epochs have brought no lower validation error) or "constant". "exponential" and "plateau" do not go below `final`.
    """

    name: Literal["cosine", "polynomial", "step", "exponential", "plateau", "constant"] = "cosine"
    warmup: float = 0.0
    warmup_rate: float = 0.0
    final: float = 0.0
    gamma: float = 0.1
    milestones: tuple[float, ...] = ()
    every: float = 1.0
    wait: int = 5
    power: float = 1.0

    def __post_init__(self) -> None:
        _require(self.warmup >= 0.0, "schedule.warmup", "0 epochs or more", self)
        _require(0.0 <= self.warmup_rate <= 1.0, "schedule.warmup_rate", "a fraction between 0 and 1", self)
        _require(0.0 <= self.final <= 1.0, "schedule.final", "a fraction between 0 and 1", self)
        _require(self.gamma > 0.0, "schedule.gamma", "above 0", self)
        _require(list(self.milestones) == sorted(self.milestones), "schedule.milestones", "in rising order", self)
        _require(self.every > 0.0, "schedule.every", "above 0 epochs", self)
        _require(self.wait >= 1, "schedule.wait", "1 epoch or more", self)
        _require(self.power > 0.0, "schedule.power", "above 0", self)


@dataclass(frozen=True)
class MixingOptions:
    """Pictures of a batch mixed in pairs after augmentation, with their labels; 0: not.

    `mixup` and `cutmix` are the alpha of the distribution Beta(alpha, alpha) from which the shares are drawn (Zhang et
    al. 2018, Yun et al. 2019). With both, each picture is mixed in the one or the other way with equal chance.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            _require(math.isfinite(value) and value >= 0.0, f"mixing.{name}", "0 or more", self)

    @property
    def on(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run computes; same recipe, data and machine: same weights."""

    name: str
    model: ModelOptions
    data: DataOptions
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixing: MixingOptions = field(default_factory=MixingOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    epochs: int = 20
    batch_size: int = 128
    micro_batch: int = 0  # a step is computed in parts of at most so many pictures; 0: all at once
    sampling: Sampling = "all"  # or "balanced": classes equally often in an epoch
    freeze: str = ""  # layers that are not trained: names, or how many from the input on (below 0: all but so many)
    seed: int = 0
    ema: float = 0.0  # decay of the exponential moving average of the weights per step; 0: none
    patience: int = 0  # stop after so many epochs without a better validation accuracy; 0: never
    channels_last: bool = True  # memory layout of images and kernels: faster for most networks on CPUs and GPUs

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", "1 or more", self)
        _require(self.batch_size >= 1, "batch_size", "1 or more", self)
        _require(self.micro_batch >= 0, "micro_batch", "0 or more", self)
        _require(0 <= self.seed < 2**63, "seed", "0 or more and below 2**63", self)
        _require(0.0 <= self.ema < 1.0, "ema", "at least 0 and below 1", self)
        _require(self.patience >= 0, "patience", "0 or more", self)
        self.augmentation.require_kind(self.data.kind)
        segments = self.data.task == "segmentation"
        _require(not segments or self.sampling == "all", "sampling", "all for segmentation", self)
        for name in ("mixup", "cutmix"):
            unmixed = getattr(self.mixing, name) == 0
            _require(unmixed or self.loss.name == "cross_entropy", f"mixing.{name}", "0 with an RBF loss", self.mixing)
            _require(unmixed or not segments, f"mixing.{name}", "0 for segmentation", self.mixing)
        series = self.data.kind == "signals"
        _require(not series or self.mixing.cutmix == 0, "mixing.cutmix", "0 for series", self.mixing)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which `from_json` makes an equal recipe."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Make a recipe from `to_json`'s dictionary; raises InputError for unknown keys or wrong types."""
        return _read(cls, values, "")

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def set(self, settings: Sequence[str]) -> "Recipe":
        """Return a copy changed by settings such as "optimizer.lr=0.05" or "data.size=64,64".

        Values take the field's type; raises InputError for an unknown key (with the nearest one) or an unfit value.
        """
        values = self.to_json()
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals:
                raise InputError(f"--set {setting}: expected key=value, for example optimizer.lr=0.05")
            _put(values, key.strip(), text.strip())
        return Recipe.from_json(values)


def keys(kind: Any = Recipe, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings of a recipe."""
    found: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        found += keys(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return found


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Return "key: value of a -> value of b" for every setting that differs."""
    return [
        f"{key}: {value_of(a, key)!r} -> {value_of(b, key)!r}" for key in keys() if value_of(a, key) != value_of(b, key)
    ]


def value_of(recipe: Recipe, key: str) -> Any:
    """Return a setting by its dotted name."""
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _put(values: dict[str, Any], key: str, text: str) -> None:
    known = keys()
    if key.startswith("model.options."):
        values["model"]["options"][key.removeprefix("model.options.")] = _loose(text)
        return
    if key not in known:
        raise InputError(f"--set {key}: no such setting{did_you_mean(key, known)}")
    kind: Any = Recipe
    *parents, last = key.split(".")
    for part in parents:
        kind, values = typing.get_type_hints(kind)[part], values[part]
    values[last] = _parse(typing.get_type_hints(kind)[last], text, key)


def _loose(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _parse(hint: Any, text: str, key: str) -> Any:
    """Read a command-line value as JSON of the hinted type."""
    if hint is str or typing.get_origin(hint) is Literal:
        return text
    if typing.get_origin(hint) is types.UnionType:
        given, _ = typing.get_args(hint)  # a type or None
        return None if text.lower() in {"none", "null"} else _parse(given, text, key)
    if typing.get_origin(hint) is tuple:
        items = _loose(f"[{text.strip('()[]')}]")
        return items if isinstance(items, list) else text.split(",")
    if hint is bool and text.lower() in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
        return text.lower() in {"true", "yes", "on", "1"}
    value = _loose(text)
    if isinstance(value, str) and hint in {int, float}:
        raise InputError(f"--set {key}={text}: expected {_describe(hint)}")
    return value


def _read(kind: type[T], values: Any, prefix: str) -> T:
    """Build a dataclass from JSON values, checking every type."""
    if not isinstance(values, dict):
        raise InputError(f"{prefix.rstrip('.') or 'recipe'}: expected an object, got {values!r}")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise InputError(f"{prefix}{name}: no such setting{did_you_mean(name, hints)}")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - set(values)):
        raise InputError(f"{prefix}{missing[0]}: this setting is missing")
    return kind(**{name: _check(hints[name], value, prefix + name) for name, value in values.items()})


def _check(hint: Any, value: Any, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _read(typing.cast("type[Any]", hint), value, f"{key}.")
    if origin is Literal:
        if value in arguments:
            return value
        raise InputError(f"{key}={value}: expected one of {', '.join(map(str, arguments))}")
    if origin in {typing.Union, types.UnionType}:
        if value is None and type(None) in arguments:
            return None
        return _check(next(a for a in arguments if a is not type(None)), value, key)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        with contextlib.suppress(InputError, ValueError):  # the sentence below speaks of the whole value
            return tuple(_check(kind, item, key) for kind, item in zip(kinds, value, strict=True))
    elif (origin is dict or hint is dict) and isinstance(value, dict):
        return dict(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint in {int, bool, str} and type(value) is hint:
        return value
    raise InputError(f"{key}={_plain(value)}: expected {_describe(hint)}")


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _describe(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", dict: "an object"}
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        if arguments[-1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}, such as 1,2,3"
        return f"{len(arguments)} values separated by a comma, each {_describe(arguments[0])}"
    return words.get(hint, str(hint))


def _require(holds: bool, key: str, expected: str, owner: Any) -> None:
    if not holds:
        raise InputError(f"{key}={getattr(owner, key.rpartition('.')[2])}: must be {expected}")
