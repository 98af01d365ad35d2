"""The list of files that training leaves out: one path a line, with the reasons as comments."""

import json
from collections.abc import Iterable
from pathlib import Path

from striate.data._classmap import listed
from striate.errors import InputError
from striate.files import write_text

_HEAD = """\
# Files that `striate train DATA --exclude` leaves out: one path below DATA a line. A line that begins with # is a
# remark, a path in double quotes is read as a JSON string. Remove a line to keep its file.
"""


def read_exclusion(path: Path) -> tuple[str, ...]:
    """Return the paths of a list, each once and sorted; raises InputError if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no UTF-8 text"
        raise InputError(f"{path}: the list of files to exclude cannot be read ({reason})") from error
    names = set()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            names.add(_unquoted(text, f"{path}, line {number}"))
    return tuple(sorted(names))


def write_exclusion(path: Path, reasons: Iterable[tuple[str, str]]) -> None:
    """Write a list of (path, why), atomically; a path that is given twice is written once, with every reason."""
    collected: dict[str, list[str]] = {}
    for name, reason in reasons:
        collected.setdefault(name, []).append(reason)
    lines = [_HEAD]
    for name, whys in sorted(collected.items()):
        lines += [f"# {' '.join(why.split())}\n" for why in whys]
        lines.append(f"{_quoted(name)}\n")
    write_text(path, "".join(lines))


def require_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise InputError that names the first paths which are no files of the data."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(
            f"{where}: the list of files to exclude names {listed(unknown, 3)}, which is no file below it: remove the "
            "line, or make a new list with: striate doctor DATA --quarantine FILE"
        )


def _quoted(name: str) -> str:
    plain = name.isprintable() and name == name.strip() and not name.startswith(("#", '"'))
    return name if plain else json.dumps(name)


def _unquoted(text: str, where: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        name = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: expected a path, or one in double quotes as a JSON string, got {text}") from error
    return str(name)
