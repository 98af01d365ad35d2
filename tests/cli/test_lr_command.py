"""`striate lr`: a table for people, JSON for programs, a picture."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from commands import striate
from striate.cli import _lr
from striate.training import LrRange, Reading, named_recipe

SHORT = ("lr", "digits", "--model", "lenet5-modern", "--steps", 60, "--from", 1e-4, "--threads", 1)


def test_the_table_and_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = striate(*SHORT, "--out", "rates.svg")
    assert code == 0, err
    lines = out.splitlines()
    assert max(map(len, lines[: lines.index("")])) <= 80
    assert re.search(r"^suggested rate: [\d.]+, a tenth of the rate at which the loss runs away \([\d.]+\)$", out, re.M)
    assert re.search(r"the recipe lenet5-modern has 0.003 \(adamw\); to take this one: --set optimizer.lr=[\d.]+$", out)
    assert sum("< suggested" in line for line in lines) == sum("< runs away" in line for line in lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rates.svg"], "no run, no folder"
    drawing = ET.parse(tmp_path / "rates.svg").getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert sum(path.get("class") == "line mark" for path in drawing.iter("{http://www.w3.org/2000/svg}path")) == 2


def test_json() -> None:
    code, out, err = striate(*SHORT, "--json")
    assert code == 0, err
    found = json.loads(out)
    rates = [reading["rate"] for reading in found["readings"]]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-4)
    assert found["exploded"] == rates[-1]
    assert found["recipe_lr"] == 0.003
    assert found["suggestion"] == pytest.approx(found["exploded"] / 10, rel=0.05)


def test_a_picture_of_another_kind_is_refused_before_any_work() -> None:
    code, _, err = striate("lr", "nowhere", "--out", "rates.png")
    assert (code, err) == (2, "striate: --out rates.png: the picture is an SVG file; give a name that ends in .svg\n")


def test_a_loss_that_is_no_number_at_once_is_said_in_words(tmp_path: Path) -> None:
    nothing = LrRange((Reading(1.0, None, None),), 1.0, None, None, "none: it ran away")
    assert _lr.picture(nothing) == []
    _lr._draw(nothing, named_recipe("digits"), tmp_path / "empty.svg")
    ET.parse(tmp_path / "empty.svg")
