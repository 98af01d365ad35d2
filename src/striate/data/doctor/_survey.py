"""Which files training would see and what it would pass over or refuse: the folders, without opening a file."""

from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from striate.data._classmap import listed
from striate.data.doctor._findings import File, Finding
from striate.data.sources.layout import CLUTTER, PARTS, SPLIT_WORDS, Listing, entries, walk


@dataclass
class Survey:
    """The files below a root and what is wrong with the folders."""

    root: Path
    files: list[File] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of files per split and class."""
        counted: dict[str, dict[str, int]] = {}
        for file in self.files:
            part = counted.setdefault(file.part, {})
            part[file.label] = part.get(file.label, 0) + 1
        return counted


def survey(root: Path) -> Survey:
    """Walk the folders as opening them for training does, but go on where that would stop; opens no file."""
    found = Survey(root)
    top = Listing()
    folders, files = entries(root, top)
    parts = _parts(folders, found)
    classes = {part: _classes(folder, part, found) for part, folder in parts.items()}
    if "" not in parts:
        _pass_over([*top.ignored, *files], found)
    found.files.sort(key=lambda file: (file.part != "train", file.part != "val", file.label, file.path))
    _compare(classes, found)
    return found


def _parts(folders: list[str], found: Survey) -> dict[str, str]:
    """Return the folder of each split, also of those whose names training would not take."""
    alike = {name: SPLIT_WORDS[name.casefold()] for name in folders if name.casefold() in SPLIT_WORDS}
    if not alike:
        return {"": ""}
    parts = {name: name for name in PARTS if name in folders}
    for name in folders:
        if name in alike and name not in parts:
            words = f"the folder {name!r} looks like the split {alike[name]!r}: name it so"
            found.findings.append(Finding("layout", (name,), words))
            parts.setdefault(alike[name], name)
        elif name not in parts:
            words = f"the folder {name!r} stands beside the splits: move it away, or into them if it is a class"
            found.findings.append(Finding("layout", (name,), words))
    if "train" not in folders:
        found.findings.append(Finding("layout", (), "there is no folder 'train': the classes come from there"))
    return {part: parts[part] for part in PARTS if part in parts}


def _classes(folder: str, part: str, found: Survey) -> list[str]:
    """Note the files of each class of a split, and return the classes."""
    closed: list[str] = []
    listing = Listing(closed=closed)
    folders, files = entries(found.root / folder, listing, folder)
    listing.ignored += [f"{folder}/{name}" if folder else name for name in files]
    if not folders and not closed:
        words = f"{folder or found.root}: expected a folder of images for each class, found "
        words += f"{len(files)} files but no folders" if files else "nothing"
        found.findings.append(Finding("layout", (folder,) * bool(folder), words))
    names: dict[str, list[str]] = {}
    for name in folders:
        path = f"{folder}/{name}" if folder else name
        before = len(closed)
        paths = walk(found.root, path, listing, set())
        if not paths and len(closed) == before:
            found.findings.append(Finding("empty-class", (path,), f"{path}: no file of this class"))
        label = normalize("NFC", name)
        names.setdefault(label, []).append(name)
        found.files += [File(file, part, label) for file in paths]
    if len(names) == 1 and part in {"", "train"}:
        words = f"{folder or found.root}: expected at least two class folders, found only {next(iter(names))!r}"
        found.findings.append(Finding("layout", (folder,) * bool(folder), words))
    for path in closed:
        found.findings.append(Finding("closed-folder", (path,), f"{path or found.root}: the folder cannot be read"))
    _pass_over(listing.ignored, found)
    _spelling(folder, [name for same in names.values() for name in same], found)
    return list(names)


def _spelling(folder: str, names: list[str], found: Survey) -> None:
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(normalize("NFC", name.casefold()).strip(), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            paths = tuple(f"{folder}/{name}" if folder else name for name in same)
            words = f"{listed(same)} differ in spelling only" + (f" (in {folder})" if folder else "")
            found.findings.append(Finding("class-spelling", paths, words))


def _pass_over(paths: list[str], found: Survey) -> None:
    """Note what training passes over, by what it is."""
    for path in paths:
        place, name = found.root / path, path.rpartition("/")[2]
        if name.startswith(".") or name.casefold() in CLUTTER:
            folder = place.is_dir()
            kind, words = ("hidden-folder", "hidden folder") if folder else ("hidden-file", "hidden file")
        elif place.is_dir():
            kind, words = "link-loop", "a link to a folder above it"
        elif place.is_file() or place.is_symlink():
            kind, words = "stray", "a file beside the class folders"
        else:
            kind, words = "special", "neither a file nor a folder"
        found.findings.append(Finding(kind, (path,), f"{path}: {words}"))


def _compare(classes: dict[str, list[str]], found: Survey) -> None:
    """Compare the classes of the other splits with those of the training split."""
    known = classes.get("train")
    if known is None:
        return
    for part, names in classes.items():
        unknown = [name for name in names if name not in known]
        missing = [name for name in known if name not in names]
        if unknown:
            paths = tuple(f"{part}/{name}" for name in unknown)
            words = f"{part} has {listed(unknown)}, train has not"
            found.findings.append(Finding("unknown-class", paths, words))
        if missing and names:
            words = f"{part} has no folder for {listed(missing)}"
            found.findings.append(Finding("missing-class", (part,), words))
