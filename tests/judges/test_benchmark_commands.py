"""The commands that make the tables of docs/judged.md: they run, and say what they measured."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import operators
import sections
from judge_record import Verdict

import judges


def test_a_section_is_replaced_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "page.md"
    sections.write_section(path, "a", "first")
    sections.write_section(path, "b", r"second \1")
    sections.write_section(path, "a", "third")
    assert path.read_text() == "<!-- a -->\n\nthird\n\n<!-- /a -->\n\n<!-- b -->\n\nsecond \\1\n\n<!-- /b -->\n"


def test_every_case_computes_what_its_baseline_does():
    for case in operators.cases():
        if case.size != "large":
            operators.require_equal(case)


def test_a_baseline_that_computes_something_else_is_refused():
    case = next(operators.cases())
    with pytest.raises(AssertionError, match="conv 3 x 3, same, tiny"):
        operators.require_equal(case._replace(theirs=lambda *given: 2 * case.theirs(*given)))


@pytest.mark.parametrize("gradients", [False, True])
def test_a_timing(gradients):
    """No round is left out, and the report has a row for it."""
    case = next(case for case in operators.cases() if case.name == "max_pool 2" and case.size == "middle")
    timing = operators.measure(case, gradients, 0.0)
    assert timing.rounds == 5
    assert timing.ours > 0 < timing.theirs
    assert "| max_pool 2 | F.max_pool2d | middle |" in operators.report([timing])


def test_the_table_of_judges():
    verdicts = [
        Verdict("conv", "numpy", "aten", "float64", 3, 1e-16),
        Verdict("conv", "numpy", "aten", "float32", 2, 1e-7),
    ]
    assert judges.judge_table(verdicts).splitlines()[-1] == "| `conv` | numpy | aten | 3 | 1.0e-16 | 1.0e-07 |"
    assert torch.__version__ in judges.versions("torch")
