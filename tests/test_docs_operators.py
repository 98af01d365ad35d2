"""docs/operators.md is true: its snippets run as a reader types them, and it speaks of every operator and option."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

from striate import ops
from striate.ops._dispatch import TABLE

PAGE = (Path(__file__).parents[1] / "docs" / "operators.md").read_text(encoding="utf-8")


def test_every_snippet_gives_what_it_says() -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(snippets), {}, "operators.md", None, 0)
    outcome = doctest.DocTestRunner().run(examples)
    assert len(snippets) > len(TABLE)
    assert outcome.attempted > 30
    assert outcome.failed == 0


@pytest.mark.parametrize("operator", TABLE)
def test_every_operator_has_its_section_and_its_row(operator: str) -> None:
    assert f"\n## {operator}\n" in PAGE
    assert f"| [`{operator}`](#{operator}) |" in PAGE
    section = (
        PAGE.split(f"\n## {operator}\n")[1].split("\n## ")[0] + PAGE.split("\n## The window\n")[1].split("\n## ")[0]
    )
    tensors = {"x", "w", "b", "h", "t", "centres", "weight", "bias", "impl"}
    for option in inspect.signature(getattr(ops, operator)).parameters.keys() - tensors:
        assert re.search(rf"\b{option}\b", section), f"{operator}: {option}"
