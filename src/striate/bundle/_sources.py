"""From what a user types to the pictures that are meant."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from striate.errors import InputError

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(
    arguments: str | Path | Iterable[str | Path], endings: frozenset[str] = ENDINGS, what: str = "pictures"
) -> list[Path]:
    """Return the picture files that files, folders (with all folders inside) and patterns like 'photos/*.jpg' mean.

    Arguments keep their order; what a folder or a pattern means is sorted and limited to these endings, hidden files
    left out. A single file is taken as it is, whatever its ending and even if it is missing: reading it will tell.
    Raises InputError for a folder or a pattern without a picture, a folder that cannot be read, and for no arguments.
    """
    given = [arguments] if isinstance(arguments, str | Path) else list(arguments)
    if not given:
        raise InputError(f"no {what}: give files, folders or patterns such as 'photos/*.jpg'")
    return [path for argument in given for path in _meant(argument, endings, what)]


def _meant(argument: str | Path, endings: frozenset[str], what: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        found, kind = sorted(_inside(path, endings)), "folder"
    elif glob.has_magic(str(argument)) and not path.exists():
        matches = map(Path, glob.iglob(str(argument), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found, kind = sorted(match for match in matches if _has_ending(match, endings)), "pattern"
    else:
        return [path]
    if not found:
        raise InputError(f"{argument}: the {kind} has no {what} ({', '.join(sorted(endings))})")
    return found


def _inside(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error

    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in files if _has_ending(path := Path(where, name), endings))


def _has_ending(path: Path, endings: frozenset[str]) -> bool:
    return path.suffix.lower() in endings and not path.name.startswith(".") and not path.is_dir()
