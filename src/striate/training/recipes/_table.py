"""The recipes in words: the table of docs/recipes.md."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from striate.data import Augmentation, DataOptions
from striate.models import card
from striate.training._recipe import OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import PIXEL
from striate.training.recipes._names import RECIPES, departures, named_recipe


class Row(NamedTuple):
    """What a recipe is, in words; the columns of the table."""

    input: str
    augmentation: str
    optimiser: str
    rate: str
    batch: str
    epochs: str
    others: str


def table() -> str:
    """Return in Markdown the table of the recipes, those that differ in the network only in one row, and departures."""
    rows = groupby(RECIPES, key=row)
    lines = ["| recipe | " + " | ".join(Row._fields) + " |", "|---" * (1 + len(Row._fields)) + "|"]
    lines += [f"| {_quoted(names)} | " + " | ".join(words) + " |" for words, names in rows]
    for (paper, said), names in groupby(RECIPES, key=_paper_and_departures):
        lines += ["", f"**{_quoted(names)}** - {paper}", "", *(f"- {departure}" for departure in said or ["none"])]
    return "\n".join(lines)


def row(name: str) -> Row:
    """Describe a recipe; raises InputError for an unknown one."""
    recipe = named_recipe(name)
    return Row(
        input_words(recipe.data),
        augmentation_words(recipe.augmentation),
        optimizer_words(recipe.optimizer),
        schedule_words(recipe.schedule),
        str(recipe.batch_size),
        str(recipe.epochs),
        _other_words(recipe),
    )


def input_words(data: DataOptions) -> str:
    """Describe what the network sees."""
    if data.kind == "signals":
        return series_words(data)
    channels, height, width = data.preprocessing().input_size
    words = f"{channels} x {height} x {width}"
    if data.crop_to is not None:
        words += f" of {data.size[0]} x {data.size[1]}"
    if data.std == PIXEL:
        return f"{words}; minus {', '.join(f'{255 * mean:.0f}' for mean in data.mean)} in 0..255"
    means, stds = (", ".join(f"{value:.3g}" for value in values) for values in (data.mean, data.std))
    return f"{words}; minus {means} over {stds}"


def series_words(data: DataOptions) -> str:
    """Describe what a network for series sees."""
    channels, length = data.channels or "channels", data.length or "length of the data"
    by = {"given": "", "training": "; standardised by the training split", "series": "; each standardised by itself"}
    return f"{channels} x {length}{by[data.standardize]}"


def optimizer_words(options: OptimizerOptions) -> str:
    """Describe an optimiser."""
    words = (
        f"{options.name}, rate {options.lr:g}, {'Nesterov ' if options.nesterov else ''}momentum {options.momentum:g}"
    )
    if options.name != "sgd":
        words += f", decay of squares {options.beta2:g}, epsilon {options.epsilon:g}"
    if options.weight_decay:
        words += f"; weight decay {options.weight_decay:g} of {'all' if options.decay_all else 'the weights'}"
    return words + (f"; norm of the gradient up to {options.clip_norm:g}" if options.clip_norm else "")


def schedule_words(options: ScheduleOptions) -> str:
    """Describe a schedule."""
    words = {
        "constant": "constant",
        "cosine": f"cosine to {options.final:g}",
        "polynomial": f"(1 - t)^{options.power:g} to {options.final:g}",
        "step": f"x {options.gamma:g} at epoch " + ", ".join(f"{milestone:.4g}" for milestone in options.milestones),
        "exponential": f"x {options.gamma:g} every {options.every:g} epochs",
        "plateau": f"x {options.gamma:g} after {options.wait} epochs without a lower validation error",
    }[options.name]
    if options.name in {"exponential", "plateau"} and options.final:
        words += f", down to {options.final:g}"
    if options.warmup:
        rise = f"x {options.warmup_rate:g}" if options.warmup_rate else "rising from 0"
        words = f"{rise} for {options.warmup:.3g} epochs, then {words}"
    return words


def augmentation_words(options: Augmentation) -> str:
    """Describe an augmentation."""
    words = [f"{name} {getattr(options, name):g}" for name in ("shift", "scale", "noise", "squeeze", "shear", "rotate")]
    words = [word for word in words if not word.endswith(" 0")]
    if options.zoom != (1.0, 1.0):
        words.append(f"windows at {options.zoom[0]:.3g} to {options.zoom[1]:.3g} times the size")
    if options.area != (1.0, 1.0):
        words.append(f"windows of {options.area[0]:.0%} to {options.area[1]:.0%}, aspect up to {options.aspect:.3g}")
    if options.crop:
        words.append(f"moved by up to {options.crop} pixels")
    if options.flip:
        words.append("mirrored")
    words += [
        f"{name} {getattr(options, name):.3g}"
        for name in ("brightness", "contrast", "saturation", "lighting")
        if getattr(options, name)
    ]
    return ", ".join(words) or "none"


def _other_words(recipe: Recipe) -> str:
    words = [f"loss {recipe.loss.name}"] if recipe.loss.name != "cross_entropy" else []
    if recipe.loss.label_smoothing:
        words.append(f"labels smoothed by {recipe.loss.label_smoothing:g}")
    if recipe.mixing.mixup:
        words.append(f"MixUp {recipe.mixing.mixup:g}")
    if recipe.mixing.cutmix:
        words.append(f"CutMix {recipe.mixing.cutmix:g}")
    if recipe.ema:
        words.append(f"weights averaged ({recipe.ema:g})")
    return ", ".join(words)


def _paper_and_departures(name: str) -> tuple[str, list[str]]:
    return card(named_recipe(name).model.name).paper, departures(name)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
