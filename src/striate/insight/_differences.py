"""From edits to sentences: equal changes are told once, with the places where they are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from striate.insight._align import Edit
from striate.insight._layer_graph import Layer

_SHOWN = 4  # so many places are named, more are counted
_BLOCK = 3  # so many layers in a row are told as one block
_INNER = frozenset(
    {"conv", "linear", "relu", "norm", "bn", "flatten", "dropout", "0"}
)  # what a module calls its one layer


@dataclass(frozen=True)
class Difference:
    """One difference: of a setting, or a layer that only one network has, at all `places` (names of layers)."""

    what: Literal["changed", "replaced", "added", "missing"]
    layer: str  # its kind in words
    setting: str  # of a change; the kind that stands there instead, of a replacement
    here: Any
    there: Any
    places: tuple[str, ...]
    sentence: str


def differences(edits: Sequence[Edit]) -> list[Difference]:
    """Return the differences that the edits make, in the order of their first place."""
    here, there = [e.here for e in edits if e.here], [e.there for e in edits if e.there]
    names = {id(e.there): shown(e.here.path) for e in edits if e.here and e.there}
    found = [*_changed(edits, here), *_replaced(edits)]
    found += _one_sided([e for e in edits if e.there is None], "missing", here, names)
    found += _one_sided([e for e in edits if e.here is None], "added", there, names)
    return [difference for _, difference in sorted(found, key=lambda pair: pair[0])]


def shown(path: str) -> str:
    """Return the name of a layer for people: its module's path without the name of the only layer in it."""
    parts = path.split(".")
    while len(parts) > 1 and parts[-1] in _INNER:
        parts.pop()
    if len(parts) > 1 and parts[1].startswith(parts[0]):  # conv1.conv1_1
        parts = parts[1:]
    return ".".join(parts)


# settings (name, here, there) by kind of layer, the setting if it stands alone, and places (number of the edit, name)
Group = dict[tuple[str, str, tuple[tuple[int, str], ...]], list[tuple[str, Any, Any]]]


# --- settings --------------------------------------------------------------------------------------------------------


def _changed(edits: Sequence[Edit], here: Sequence[Layer]) -> list[tuple[int, Difference]]:
    at: dict[tuple[str, str, Any, Any], list[tuple[int, str]]] = {}
    for number, (one, other, *_) in enumerate(edits):
        if one is None or other is None or one.kind != other.kind:
            continue
        a, b = dict(one.settings), dict(other.settings)
        for setting in [*a, *(other_setting for other_setting in b if other_setting not in a)]:
            x, y = a.get(setting), b.get(setting)
            if x != y:
                at.setdefault((one.kind, setting, x, y), []).append((number, shown(one.path)))
    together: Group = {}
    for (kind, setting, a, b), places in at.items():
        alone = setting if setting in {"maps", "units"} else ""
        together.setdefault((kind, alone, tuple(places)), []).append((setting, a, b))
    totals = Counter(layer.kind for layer in here)
    found = []
    for (kind, _, where_), words in _collected(together).items():
        names = tuple(name for _, name in where_)
        where = _where(names, kind, totals[kind], here)
        for sentence, (setting, a, b) in _sentences(kind, words, where, names):
            found.append((where_[0][0], Difference("changed", kind, setting, a, b, names, sentence)))
    return found


def _collected(together: Group) -> Group:
    """Put single layers that differ in the same setting by different numbers under one head."""
    alone: dict[tuple[str, str], list[tuple[tuple[int, str], Any, Any]]] = {}
    keys: dict[tuple[str, str], list[tuple[str, str, tuple[tuple[int, str], ...]]]] = {}
    for group, words in together.items():
        if len(words) == 1 and (len(group[2]) == 1 or group[1]):
            setting, x, y = words[0]
            alone.setdefault((group[0], setting), []).extend((place, x, y) for place in group[2])
            keys.setdefault((group[0], setting), []).append(group)
    result = dict(together)
    for (kind, setting), layers in alone.items():
        if len(keys[kind, setting]) > 1:
            for group in keys[kind, setting]:
                del result[group]
            layers.sort(key=lambda layer: layer[0])
            places = tuple(place for place, _, _ in layers)
            result[kind, setting, places] = [(setting, tuple(x for _, x, _ in layers), tuple(y for _, _, y in layers))]
    return result


def _sentences(
    kind: str, words: list[tuple[str, Any, Any]], where: str, names: Sequence[str]
) -> list[tuple[str, tuple[str, Any, Any]]]:
    word, a, b = words[0]
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == len(names) > 1 and len(words) == 1:
        each = [f"{n} {_value(word, x)} -> {_value(word, y)}" for n, x, y in zip(names, a, b, strict=True)]
        if len({(x, y) for x, y in zip(a, b, strict=True)}) > 1:
            return [(f"{word} of {_plural(kind)}: {_listed(each, 8)}", words[0])]
    told = [_setting(word, a, b) for word, a, b in words]
    return [(f"{where}: {', '.join(told)}", ("; ".join(w for w, _, _ in words), words[0][1], words[0][2]))]


def _setting(word: str, a: Any, b: Any) -> str:
    if word == "links":
        return f"links {_value(word, a or 'all')} -> {_value(word, b or 'all')}"
    if isinstance(a, bool) or isinstance(b, bool):
        return f"{word if b else f'no {word}'} there"
    if a is None or b is None:
        return f"{word} {_value(word, b)} there" if a is None else f"{word} {_value(word, a)} here"
    return f"{word} {_value(word, a)} -> {_value(word, b)}"


def _value(word: str, value: Any) -> str:
    if isinstance(value, tuple) and value and all(isinstance(pair, tuple) for pair in value):
        flat = [pair[0] if pair[0] == pair[1] else f"{pair[0]} before and {pair[1]} after" for pair in value]
        return str(flat[0]) if len(set(flat)) == 1 else " x ".join(map(str, flat))
    if isinstance(value, tuple):
        if len(set(value)) == 1 and word != "kernel":
            return _value(word, value[0])
        return " x ".join(_value(word, n) for n in value)
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


# --- layers of another kind, and layers of one side -------------------------------------------------------------------


def _replaced(edits: Sequence[Edit]) -> list[tuple[int, Difference]]:
    at: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, (one, other, *_) in enumerate(edits):
        if one is not None and other is not None and one.kind != other.kind:
            at.setdefault((_with_size(one), _with_size(other)), []).append((number, shown(one.path)))
    here = [e.here for e in edits if e.here]
    found = []
    for (a, b), places in at.items():
        names = tuple(name for _, name in places)
        kind = next(e.here.kind for e in edits if e.here and shown(e.here.path) == names[0] and _with_size(e.here) == a)
        where = _where(names, kind, sum(layer.kind == kind for layer in here), here)
        sentence = f"{where}: {b} there instead of {a}"
        found.append((places[0][0], Difference("replaced", kind, b, a, b, names, sentence)))
    return found


def _one_sided(
    edits: Sequence[Edit], what: Literal["added", "missing"], all_layers: Sequence[Layer], names: dict[int, str]
) -> list[tuple[int, Difference]]:
    """Group what only one side has: runs of several layers (blocks), and layers by kind."""
    order = {id(layer): number for number, layer in enumerate(all_layers)}
    runs: dict[int, list[Edit]] = {}
    for edit in edits:
        runs.setdefault(edit.run, []).append(edit)
    blocks: dict[tuple[str, ...], list[list[Layer]]] = {}
    kinds: dict[str, list[Edit]] = {}
    for run in runs.values():
        layers = [_only(edit) for edit in run]
        if len(layers) >= _BLOCK:
            blocks.setdefault(tuple(sorted(layer.kind for layer in layers)), []).append(layers)
        else:
            for edit in run:
                kinds.setdefault(_only(edit).kind, []).append(edit)
    found = [(order[id(same[0][0])], _block(what, same)) for same in blocks.values()]
    totals = Counter(layer.kind for layer in all_layers)
    found += [(order[id(_only(group[0]))], _single(what, group, totals, names)) for group in kinds.values()]
    return found


def _only(edit: Edit) -> Layer:
    layer = edit.here or edit.there
    assert layer is not None
    return layer


def _block(what: Literal["added", "missing"], same: list[list[Layer]]) -> Difference:
    """Tell of one or more equal runs of layers, each by what it has in common in its layers' names."""
    counts = Counter(layer.kind for layer in same[0])
    inside = ", ".join(f"{count} {_plural(kind) if count > 1 else word(kind)}" for kind, count in counts.items())
    places = tuple(_common([layer.path for layer in block]) for block in same)
    many = f"{len(same)} blocks" if len(same) > 1 else "a block"
    each = "each with " if len(same) > 1 else "with "
    sentence = f"{many} {what}, {each}{inside}: {_listed(places)}"
    return Difference(what, "block", "", None, None, places, sentence)


def _common(paths: Sequence[str]) -> str:
    """Return the first part of names that most of them have, and all that they have in common if that is more."""
    parts = [path.split(".") for path in paths if path]
    first = Counter(names[0] for names in parts).most_common(1)[0][0] if parts else ""
    shared: list[str] = []
    for position, name in enumerate(parts[0] if parts else ()):
        if not all(len(other) > position and other[position] == name for other in parts):
            break
        shared.append(name)
    return ".".join(shared) or first


def _single(
    what: Literal["added", "missing"], group: list[Edit], totals: Counter[str], names: dict[int, str]
) -> Difference:
    """Tell of single layers of one kind: after every layer of another kind, or their names."""
    layers = [_only(edit) for edit in group]
    kind, places = layers[0].kind, tuple(shown(layer.path) for layer in layers)
    followed = Counter(edit.before.kind if edit.before else "the input" for edit in group)
    before, count = followed.most_common(1)[0]
    told = _with_size(layers[0]) if len({layer.settings for layer in layers}) == 1 else word(kind)
    if count == len(group) == totals[before] and count > 1:
        sentence = f"{told} {what} after every {word(before)} ({count} of {totals[before]})"
    elif count == len(group) > 1 and totals[before] > count:
        sentence = f"{told} {what} after {count} of {totals[before]} {_plural(before)}: {_listed(places)}"
    elif len(group) > 1:
        sentence = f"{told} {what} ({len(group)} of {totals[kind]}): {_listed(places)}"
    else:
        last = group[0].before
        follows = "the input" if last is None else names.get(id(last), shown(last.path))
        sentence = f"{told} {what} after {follows}" + (f" ({places[0]})" if places[0] not in {"", follows} else "")
    return Difference(what, kind, "", None, None, places, sentence)


def word(kind: str) -> str:
    """Return a kind of layer in words."""
    name = kind.removeprefix("activation ").removeprefix("function ")
    return "negation" if name == "neg" else name


def _with_size(layer: Layer) -> str:
    settings = dict(layer.settings)
    said = [_value("kernel", settings["kernel"])] if "kernel" in settings else []
    said += [f"{settings[w]:,} {w}" for w in ("maps", "units") if w in settings]
    return f"{word(layer.kind)} ({', '.join(said)})" if said else word(layer.kind)


# --- places ----------------------------------------------------------------------------------------------------------


def _where(names: Sequence[str], kind: str, total: int, here: Sequence[Layer]) -> str:
    """Say where: every layer of the kind, one layer of several parts, or the names."""
    if len(names) == total > 1:
        return f"every {word(kind)} ({total} of {total})"
    if len(names) == 1:
        return names[0] or word(kind)
    inner = {name.partition(".")[2] for name in names}
    if len(inner) == 1 and "" not in inner:
        rest = inner.pop()
        parts = [name.partition(".")[0] for name in names]
        split = [shown(layer.path).partition(".") for layer in here]
        everywhere = {part for part, _, inside in split if inside == rest}
        all_ = "all " if everywhere == set(parts) else ""
        listed = f"{parts[0]} ... {parts[-1]}" if all_ and len(parts) > _SHOWN else _listed(parts)
        return f"{rest} of {all_}{len(parts)} modules ({listed})"
    return f"{len(names)} of {total} {_plural(kind)} ({_listed(names)})"


def _plural(kind: str) -> str:
    name = word(kind)
    if name.endswith(("ing", "out")):
        return f"{name} layers"
    return name if name.endswith(("units", "zeros")) else f"{name}s"


def _listed(names: Iterable[str], most: int = _SHOWN) -> str:
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[: most - 1])} ... {listed[-1]}"
