"""Which output of a network means which class: fixed by the training split, stored, enforced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from striate.errors import InputError, did_you_mean


@dataclass(frozen=True)
class ClassMap:
    """The class names in the order of the network's outputs: `names[k]` is what output k stands for."""

    names: tuple[str, ...]

    def __init__(self, names: Sequence[str]) -> None:
        """Take distinct, non-empty names; raises InputError for anything else."""
        if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"class map: expected a list of non-empty names, got {names!r}")
        if not names:
            raise InputError("class map: expected at least one class, got none")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"class map: each class must be named once, {twice[0]!r} is there more than once")
        object.__setattr__(self, "names", tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def index(self, name: str) -> int:
        """Return the output that stands for `name`; raises InputError with the closest name if there is none."""
        if name not in self.names:
            raise InputError(f"no class {name!r}{did_you_mean(name, self.names)}")
        return self.names.index(name)

    def require_same(self, other: "ClassMap", what: str) -> None:
        """Raise InputError, naming what differs, unless `other`, the classes of `what`, are these in this order."""
        if other.names == self.names:
            return
        missing = [name for name in self.names if name not in other.names]
        unknown = [name for name in other.names if name not in self.names]
        parts = [f"missing {listed(missing)}"] * bool(missing) + [f"unknown {listed(unknown)}"] * bool(unknown)
        if not parts:
            k = next(k for k, pair in enumerate(zip(self.names, other.names, strict=True)) if pair[0] != pair[1])
            parts = [f"the order differs from class {k} on ({self.names[k]!r} expected, {other.names[k]!r} found)"]
        raise InputError(f"the classes of {what} are not the {len(self)} that were expected: {'; '.join(parts)}")

    def to_json(self) -> list[str]:
        """Return the names as a JSON-ready list, from which `from_json` makes an equal map."""
        return list(self.names)

    @classmethod
    def from_json(cls, values: Sequence[str]) -> "ClassMap":
        """Make a ClassMap from `to_json`'s list; raises InputError if it is none."""
        if not isinstance(values, (list, tuple)):
            raise InputError(f"class map: expected a list of names, got {values!r}")
        return cls(values)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the names in quotes, the first few of many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
