"""An examination for a terminal: what the set is, then the findings by kind, worst first."""

from striate.data.doctor._findings import KINDS, SEVERITIES, Examination, Statistics

_SHOWN = 3  # findings of a kind
_CLASSES = 8


def as_text(examination: Examination, *, everything: bool = False) -> str:
    """Write an examination in lines of plain text; of each kind the first few findings, or all."""
    lines = [f"{examination.root}: {examination.files:,} files"]
    for part, classes in examination.counts.items():
        sizes = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:_CLASSES])
        more = f" and {len(classes) - _CLASSES} more" if len(classes) > _CLASSES else ""
        lines.append(f"{part or 'classes'}: {sizes}{more}")
    if examination.statistics is not None:
        lines += _statistics(examination.statistics)
    for kind, findings in examination.by_kind().items():
        severity, title, advice = KINDS[kind]
        lines += ["", f"{severity}: {title} ({len(findings):,})"]
        shown = findings if everything else findings[:_SHOWN]
        lines += [f"  {finding.found}" for finding in shown]
        if len(shown) < len(findings):
            lines.append(f"  and {len(findings) - len(shown):,} more (--all shows them)")
        lines.append(f"  -> {advice}")
    lines += ["", verdict(examination)]
    return "\n".join(printable(line) for line in lines)


def verdict(examination: Examination) -> str:
    """Count the findings in one line."""
    counts = [
        f"{count:,} {severity}{'s' * (count != 1)}" for severity in SEVERITIES if (count := examination.count(severity))
    ]
    return ", ".join(counts) if counts else "nothing found that would spoil a training"


def printable(text: str) -> str:
    """Return text fit to be shown: control characters and broken encodings become the replacement sign."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _statistics(found: Statistics) -> list[str]:
    kinds = "; ".join(
        ", ".join(f"{name} {count:,}" for name, count in counted.items()) for counted in (found.formats, found.modes)
    )
    sizes = [f"{width} x {height}" for width, height in (found.smallest, found.median, found.largest)]
    spread = sizes[0] if sizes[0] == sizes[2] else f"{sizes[0]} to {sizes[2]}, median {sizes[1]}"
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (found.mean, found.std))
    return [
        f"pictures: {kinds}; width x height {spread}",
        f"mean {mean}; deviation {std} (0 to 1, at {found.size[0]} x {found.size[1]}, {found.fit})",
        f"settings: {found.settings}",
    ]
