"""Write docs/networks.md from the catalog: what the papers say, what is built here, what is common elsewhere.

    python docs/networks.py

Every number is counted anew, on the networks as published; about a minute.
"""

from pathlib import Path

import torch

from striate.files import write_text
from striate.insight import check_published, summarize
from striate.models import Card, build_as_published, card, names

PAGE = Path(__file__).with_suffix(".md")

HEAD = """# The networks

Made by `python docs/networks.py`. `striate models --check` counts every figure that a paper prints and compares,
`striate inspect NAME` shows a network layer by layer, `striate compare A B` says in words how two networks differ.

Parameters and multiply-accumulate steps (MACs; biases, norms, activations and pooling are no MACs) are those of the
network as published, for one input of the paper's size, auxiliary classifiers included in the parameters. *Field* is
the receptive field of one place of the last map, in pixels; what is larger than the image reads padding. *Figures*: how
many of the paper's printed figures are ours within the paper's rounding, and how many are not, explained below.

"""

LEARNED = """
## Learning without labels

Classes of their own, not built by name: [unsupervised.md](unsupervised.md).

"""


def main() -> None:
    """Write the page."""
    write_text(PAGE, page())


def page() -> str:
    """Return the page as Markdown."""
    built = [card(name) for name in names() if card(name).task != "unsupervised"]
    learned = [card(name) for name in names() if card(name).task == "unsupervised"]
    text = HEAD + table(built)
    if learned:
        text += LEARNED
        text += "".join(f"- `{one.name}`: {one.title}. {one.paper}\n" for one in learned)
    text += "\n## Departures, and what is common elsewhere\n"
    papers = list(dict.fromkeys(one.paper for one in [*built, *learned]))
    return text + "".join(section(paper, [one for one in [*built, *learned] if one.paper == paper]) for paper in papers)


def table(cards: list[Card]) -> str:
    """Return a row for each network."""
    lines = [
        "| network | input | parameters | MACs | field | figures |",
        "|---|---|---:|---:|---:|---|",
    ]
    for one in cards:
        with torch.device("meta"):
            model = build_as_published(one.name)
        summary = summarize(model)
        total, checked = summary.totals(), check_published(one.name)
        departing = sum(figure.figure.ours is not None for figure in checked)
        figures = (
            f"{len(checked) - departing}" + (f", {departing} not" if departing else "") if checked else "none printed"
        )
        rank = 1 + len(one.size)
        maps = [row for row in summary.rows if len(row.output_size) == rank and min(row.output_size[1:]) > 1]
        field = "x".join(map(str, maps[-1].receptive_field)) if maps else "all"
        size = "x".join(map(str, (one.channels, *one.size)))
        counts = f"{total.parameters:,} | {total.macs:,} | {field}"
        lines.append(f"| `{one.name}` | {size} | {counts} | {figures} |")
    return "\n".join(lines) + "\n"


def section(paper: str, cards: list[Card]) -> str:
    """Return what differs from one paper: ours, and the variants of well-known libraries."""
    lines = [f"\n### {paper}\n"]
    for one in cards:
        lines.append(f"- `{one.name}`: {one.title}.")
        lines += [f"  - departs: {what}" for what in one.departures] or ["  - departs: nowhere"]
        lines += [f"  - elsewhere: {what}" for what in one.elsewhere]
        for checked in check_published(one.name):
            figure = checked.figure
            if figure.ours is not None:
                what = f"{figure.layer or 'the network'}, {figure.quantity.replace('_', ' ')}"
                values = f"printed {shown(figure.value)}, ours {shown(checked.ours)}"
                lines.append(f"  - {figure.source}, {what}: {values}: {figure.departs}")
    return "\n".join(lines) + "\n"


def shown(value: int | tuple[int, ...] | None) -> str:
    """Return a figure as it is printed."""
    return " x ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"


if __name__ == "__main__":
    main()
