"""The worked exercises hold: every snippet runs, in the order of its page, and every page checks something."""

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "exercises"
NAMES = [f"5-{number}" for number in range(1, 8)]


def snippets(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (FOLDER / f"{name}.md").read_text(encoding="utf-8"), re.M | re.S)


def checks(snippet: str) -> int:
    """How many statements of a snippet can fail: `assert` and the assertions of NumPy."""
    nodes = list(ast.walk(ast.parse(snippet)))
    calls = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("assert_")]
    return len(calls) + sum(isinstance(node, ast.Assert) for node in nodes)


def test_every_exercise_has_its_page():
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_whole(name):
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert re.match(rf"# Exercise {name}: .+\n\n\*\*To \w+:\*\* .+\n", text)
    assert text.count("```") == 2 * len(snippets(name))  # no block that is not run


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch, in 5-7
@pytest.mark.parametrize("name", NAMES)
def test_every_snippet_holds_and_checks_something(name):
    scope: dict[str, object] = {}
    for snippet in snippets(name):
        assert checks(snippet) > 0
        exec(compile(snippet, f"{name}.md", "exec"), scope)


def test_a_false_claim_would_be_seen():
    (first, *_) = snippets("5-3")
    false = first.replace("5_898_240_000", "5_898_240_001")
    assert false != first
    with pytest.raises(AssertionError):
        exec(compile(false, "5-3.md", "exec"), {})
