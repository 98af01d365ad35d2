"""A summary as a table for a terminal: a tree of names on the left, numbers on the right."""

from collections.abc import Iterator
from fractions import Fraction

from striate.insight._rows import Row
from striate.insight._summary import Summary, Totals

_USUAL = ("layer", "kind", "output", "params", "MACs", "FLOPs", "memory", "field", "stride")
_WIDE = (*_USUAL[:4], "weights", "neurons", "edges", *_USUAL[4:], "note")
_LEFT = {"layer", "kind", "note"}
_GIVES_WAY = ("kind", "memory", "stride")  # columns that go, in this order, where the terminal is narrow
_LONGEST = {"layer": 32, "kind": 18}
_GAP = "  "

Cells = dict[str, str]


def table(summary: Summary, *, width: int, wide: bool) -> str:
    """Return the table, its totals and what is to be said below."""
    rows = [*_tree(summary), {"layer": "total", **_sums(summary.totals())}]
    columns = list(_WIDE if wide else _USUAL)
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in columns}
    widths |= {name: min(widths[name], most) for name, most in _LONGEST.items()}
    for name in _GIVES_WAY:
        if not wide and sum(widths[column] + len(_GAP) for column in columns) - len(_GAP) > width:
            columns.remove(name)
    body = [_line(row, columns, widths) for row in rows]
    header = _line({name: name for name in columns}, columns, widths)
    rule = "-" * (sum(widths[name] + len(_GAP) for name in columns) - len(_GAP))
    return "\n".join([header, rule, *body[:-1], rule, body[-1], "", *_below(summary, wide=wide)])


def _line(row: Cells, columns: list[str], widths: dict[str, int]) -> str:
    cells = []
    for name in columns:
        text, space = row.get(name, ""), widths[name]
        text = text if len(text) <= space else text[: space - 1] + "\u2026"
        cells.append(text.ljust(space) if name in _LEFT else text.rjust(space))
    return _GAP.join(cells).rstrip()


def _tree(summary: Summary) -> Iterator[Cells]:
    """The rows, with a line for each module that contains them wherever it begins."""
    above: list[str] = []
    for row in summary.rows:
        *inside, name = row.name.split(".") if row.name else [row.kind]
        shared = 0
        while shared < min(len(above), len(inside)) and above[shared] == inside[shared]:
            shared += 1
        for depth in range(shared, len(inside)):
            yield {"layer": "  " * depth + inside[depth]}
        above = inside
        kind = "" if name.endswith("()") else row.kind
        yield {"layer": "  " * len(inside) + name, "kind": kind, **_numbers(row)}


def _numbers(row: Row) -> Cells:
    least, most = "" if row.counted else ">=", "" if row.exact else "<="
    field = _per_axis(row.receptive_field)
    return {
        "output": times(row.output_size, "x"),
        "params": count(row.parameters),
        "weights": size(row.weight_bytes),
        "neurons": count(row.neurons),
        "edges": count(row.connections),
        "MACs": least + count(row.macs),
        "FLOPs": least + count(row.flops),
        "memory": size(row.activation_bytes),
        "field": most + field if field else "",
        "stride": _per_axis(row.effective_stride),
        "note": row.note,
    }


def _sums(totals: Totals) -> Cells:
    return {
        "params": count(totals.parameters),
        "weights": size(totals.weight_bytes),
        "neurons": count(totals.neurons),
        "edges": count(totals.connections),
        "MACs": count(totals.macs),
        "FLOPs": count(totals.flops),
        "memory": size(totals.activation_bytes),
    }


def _per_axis(entries: tuple[int, ...] | tuple[Fraction, ...]) -> str:
    return str(entries[0]) if len(set(entries)) == 1 else times(entries, "x")


def _below(summary: Summary, *, wide: bool) -> list[str]:
    totals = summary.totals()
    lines = [
        f"input {times(summary.input_size)}; {totals.parameters:,} parameters, {totals.trainable:,} of them trainable; "
        f"{totals.macs:,} MACs"
    ]
    if not wide:
        lines += _notes(summary)
    if summary.failure is not None:
        lines.append(f"stopped at {summary.failure}")
    return lines


def _notes(summary: Summary) -> list[str]:
    """Each note once, with the layers to which it applies."""
    layers: dict[str, list[str]] = {}
    for row in summary.rows:
        if row.note:
            layers.setdefault(row.note, []).append(row.name or row.kind)
    more = {note: f" and {len(names) - 3} more" if len(names) > 3 else "" for note, names in layers.items()}
    return [f"{note}: {', '.join(names[:3])}{more[note]}" for note, names in layers.items()]


def count(number: int) -> str:
    """Write a count for a person: 12,345, then 123.5 K, 15.47 G; nothing for 0."""
    if number < 100_000:
        return f"{number:,}" if number else ""
    return _scaled(number, 1000, ("K", "M", "G", "T"), 4)


def size(amount: int) -> str:
    """Write an amount of memory for a person, in units of 1024 bytes; nothing for 0."""
    if amount < 1024:
        return f"{amount} B" if amount else ""
    return _scaled(amount, 1024, ("KiB", "MiB", "GiB", "TiB"), 3)


def _scaled(number: int, step: int, units: tuple[str, ...], digits: int) -> str:
    value, left = number / step, list(units)
    while value >= 999.95 and len(left) > 1:
        value /= step
        left.pop(0)
    return f"{value:.{max(digits - len(str(int(value))), 0)}f} {left[0]}"


def times(entries: tuple[object, ...], sign: str = " x ") -> str:
    """Write sizes as people do: 3 x 224 x 224."""
    return sign.join(map(str, entries))
