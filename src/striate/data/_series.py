"""Reading series of numbers from files: CSV and TSV text, NumPy's NPY."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data._decode import ImageError, read_picture
from striate.data._signals import SignalPreprocessing

Series = NDArray[np.float64]  # T x C, T and C at least 1

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SERIES_ENDINGS = frozenset({*DELIMITERS, ".npy"})


class TableRow(NamedTuple):
    """A row of a table of series: its line (counted from 1), its label, and its values or why they are no good."""

    line: int
    label: str
    series: Series | None
    fault: str = ""


def decode_series(source: Path, preprocessing: SignalPreprocessing) -> NDArray[np.float32]:
    """Read a file and bring it to `preprocessing`'s length, float32 C x T; raises ImageError for what is no series."""
    series = read_series(source, read_picture(source))
    require_channels(str(source), series, preprocessing.channels)
    return fitted(str(source), series, preprocessing)


def fitted(name: str, series: Series, preprocessing: SignalPreprocessing) -> NDArray[np.float32]:
    """Bring a series to `preprocessing`'s length; raises ImageError for values too large for float32."""
    with np.errstate(over="ignore"):
        values = preprocessing.fitted(series)
    if np.isinf(values).any():
        raise ImageError(
            name, f"has values up to {np.abs(series).max():.3g}, too large for float32: scale it", "values"
        )
    return values


def require_channels(name: str, series: Series, channels: int, like: str = "") -> None:
    """Raise ImageError for another number of columns."""
    if series.shape[1] != channels:
        expected = f"expected {channels}" + (f" as in {like}" if like else "")
        raise ImageError(name, f"has {_count(series.shape[1], 'column')}, {expected}: one for each channel", "values")


def read_series(path: Path, data: bytes) -> Series:
    """Return what a file holds, T x C: a row for each moment, a column for each channel; raises ImageError.

    Columns are parted by commas in .csv, by tabs in .tsv. A first line without any number is a header. .npy holds T or
    T x C numbers. All must be finite.
    """
    name, ending = str(path), path.suffix.lower()
    if ending not in SERIES_ENDINGS:
        raise ImageError(name, "not a .csv, .tsv or .npy file: convert or remove it", "type")
    if not data:
        raise ImageError(name, "the file is empty: replace or remove it", "empty")
    if ending == ".npy":
        return _numbers(name, data)
    rows = _text_rows(name, data, DELIMITERS[ending])
    lines = [(number, row) for number, row in rows if not (number == 1 and not any(map(_is_number, row)))]
    if not lines:
        raise ImageError(name, "has a header and no values: replace or remove it", "empty")
    width = len(lines[0][1])
    values = np.empty((len(lines), width))
    for k, (number, row) in enumerate(lines):
        if len(row) != width:
            raise ImageError(name, f"row {number} has {_count(len(row), 'column')}, those above have {width}", "values")
        for column, text in enumerate(row):
            values[k, column] = _number(name, text, number, column + 1, DELIMITERS[ending])
    return values


def read_table(path: Path) -> list[TableRow]:
    """Return the rows of a table of series: the label first, then the values, as in the UCR archive.

    A first line whose fields after the first are all no numbers is a header. Empty fields and NaN at the end of a row
    mean that its series is shorter. Raises ImageError for a file that is no such table.
    """
    name, ending = str(path), path.suffix.lower()
    data = read_picture(path)
    if not data.strip():
        raise ImageError(name, "the file is empty: replace or remove it", "empty")
    rows = list(_text_rows(name, data, DELIMITERS[ending]))
    if len(rows[0][1]) > 1 and not any(map(_is_number, rows[0][1][1:])):
        rows = rows[1:]
    found = []
    for line, (label, *texts) in rows:
        while texts and texts[-1].strip().lower() in {"", "nan"}:
            texts.pop()
        if not label.strip():
            found.append(TableRow(line, "", None, f"row {line} has no label in its first column"))
        elif not texts:
            found.append(TableRow(line, label.strip(), None, f"row {line} has a label and no values"))
        else:
            found.append(_row(name, line, label.strip(), texts, DELIMITERS[ending]))
    return found


def _row(name: str, line: int, label: str, texts: Sequence[str], delimiter: str) -> TableRow:
    try:
        values = [_number(name, text, line, column, delimiter) for column, text in enumerate(texts, 2)]
    except ImageError as error:
        return TableRow(line, label, None, error.reason)
    return TableRow(line, label, np.asarray(values)[:, None])


def _text_rows(name: str, data: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line that is not empty with its number."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(name, f"is no UTF-8 text ({error.reason}): convert or remove it", "type") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise ImageError(name, f"row {reader.line_num} cannot be read ({error}): correct it", "damaged") from None


def _number(name: str, text: str, row: int, column: int, delimiter: str) -> float:
    place = f"row {row}, column {column}"
    try:
        value = float(text)
    except ValueError:
        if not text.strip():
            raise ImageError(name, f"{place} is empty: give every moment a value", "values") from None
        word = "a comma" if delimiter == "," else "a tab"
        shown = text.strip() if len(text) <= 30 else f"{text.strip()[:30]}..."
        reason = f"{place} is {shown!r}, expected a number (columns are parted by {word})"
        raise ImageError(name, reason, "values") from None
    if not math.isfinite(value):
        raise ImageError(name, f"{place} is {value}, expected a finite number", "values")
    return value


def _numbers(name: str, data: bytes) -> Series:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = f"is no whole .npy file ({str(error).splitlines()[0]}): write it again"
        raise ImageError(name, reason, "damaged") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise ImageError(name, "does not hold an array of real numbers: write it again", "values")
    if array.ndim not in {1, 2} or array.size == 0:
        raise ImageError(name, f"has shape {array.shape}, expected T or T x C (moments, channels)", "values")
    series: Series = (array if array.ndim == 2 else array[:, None]).astype(np.float64)
    bad = np.argwhere(~np.isfinite(series))
    if len(bad):
        row, column = bad[0].tolist()
        reason = f"row {row + 1}, column {column + 1} is {series[row, column]}, expected a finite number"
        raise ImageError(name, reason, "values")
    return series


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
