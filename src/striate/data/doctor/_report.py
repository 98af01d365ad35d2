"""An examination as one HTML file that needs nothing else, with the pictures that it is about."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from striate.data._decode import ImageError, decode_image
from striate.data._preprocessing import Preprocessing
from striate.data.doctor._findings import KINDS, Examination, Finding, Kind
from striate.data.doctor._text import printable, verdict
from striate.files import write_text

PICTURED = 24  # findings of a kind that are shown with pictures
LISTED = 500  # findings of a kind that are listed
_SIDE = 120
_PER_FINDING = 4
_THUMBNAIL = Preprocessing(3, (_SIDE, _SIDE), "pad")
_NEVER = frozenset({"size", "access", "special"})  # kinds whose files are not opened again


class Picture(NamedTuple):
    """A file of a finding with its small picture (a data URI), or None where it cannot be decoded."""

    path: str
    source: str | None


class Section(NamedTuple):
    """The findings of one kind: some with pictures, the others as lines, and how many are not shown."""

    name: str
    kind: Kind
    total: int
    pictured: list[tuple[Finding, list[Picture]]]
    lines: list[Finding]
    hidden: int


def write_html(examination: Examination, path: Path) -> None:
    """Write the report, atomically; the same examination of the same files makes the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = lambda value: printable(str(value))
    sections = [_section(examination, name, findings) for name, findings in examination.by_kind().items()]
    template = environment.get_template("doctor.html.j2")
    write_text(path, template.render(found=examination, verdict=verdict(examination), sections=sections))


def _section(examination: Examination, name: str, findings: list[Finding]) -> Section:
    root = Path(examination.root)
    pictured: list[tuple[Finding, list[Picture]]] = []
    rest: list[Finding] = []
    for finding in findings:
        shown = []
        if name not in _NEVER and len(pictured) < PICTURED:
            shown = [Picture(path, _thumbnail(root / path)) for path in finding.paths[:_PER_FINDING]]
        if any(picture.source for picture in shown):
            pictured.append((finding, shown))
        else:
            rest.append(finding)
    return Section(name, KINDS[name], len(findings), pictured, rest[:LISTED], max(0, len(rest) - LISTED))


def _thumbnail(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        pixels = decode_image(path, _THUMBNAIL)
    except ImageError:
        return None
    memory = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(memory, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}"
