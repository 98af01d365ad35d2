"""The page of the networks is what the program beside it writes."""

import runpy
from pathlib import Path

import pytest
import torch

from striate.models import build_as_published, card, names

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "networks.md").read_text()


@pytest.mark.slow
def test_the_page_is_made_by_its_program() -> None:
    assert runpy.run_path(str(DOCS / "networks.py"))["page"]() == TEXT


@pytest.mark.parametrize("name", names())
def test_every_network_stands_there(name: str) -> None:
    known = card(name)
    assert f"- `{name}`: {known.title}." in TEXT
    for what in (*known.departures, *known.elsewhere):
        assert f": {what}\n" in TEXT
    if known.task != "unsupervised" and not name.endswith(("1001", "1202")):
        with torch.device("meta"):
            model = build_as_published(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert f"| `{name}` | {'x'.join(map(str, model.input_size))} | {parameters:,} | " in TEXT
