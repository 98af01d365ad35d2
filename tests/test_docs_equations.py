"""The page of equations is complete and true: every number, every function, every test, and each where it says."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from striate.reference import equations

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
TESTS = ROOT / "tests" / "reference"
LAST = 47


def rows() -> list[tuple[str, str, list[str], list[str]]]:
    """The rows of both tables: where in the chapter, what, functions, tests."""
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    table = [row for row in cells if re.match(r"[(\d]", row[0])]
    return [(where, what, quoted(functions), quoted(tests)) for where, what, functions, tests in table]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def numbers(text: str) -> list[int]:
    """The equations that a text names: (5.4), or (5.1)-(5.3) for all from the one to the other."""
    found = []
    for first, last in re.findall(r"\(5\.(\d+)\)(?:-\(5\.(\d+)\))?", text):
        found += range(int(first), int(last or first) + 1)
    return found


def test_source(test: str) -> str:
    """The source of a test by its id; KeyError or FileNotFoundError if there is none."""
    file, name = test.split("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    tests = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    return ast.get_source_segment(text, tests[name]) or ""


test_source.__test__ = False  # type: ignore[attr-defined]


def test_every_equation_stands_in_the_table_once():
    assert sorted(n for where, *_ in rows() for n in numbers(where)) == list(range(1, LAST + 1))


def test_every_function_stands_in_the_table():
    named = {name for *_, functions, _ in rows() for name in functions}
    assert named == set(equations.__all__) - {"identity"}


@pytest.mark.parametrize(("where", "what", "functions", "tests"), rows())
def test_row(where, what, functions, tests):
    if not functions:  # an equation that computes nothing says why
        assert re.match(r"(step|definition)\b", what)
        assert not tests
        return
    documented = "\n".join(inspect.getdoc(getattr(equations, name)) or "" for name in functions)
    assert set(numbers(where)) <= set(numbers(documented))
    for section in re.findall(r"\b5\.\d\.\d\b", where):
        assert section in documented
    bodies = "\n".join(test_source(test) for test in tests)
    for name in functions:
        assert re.search(rf"\bequations\.{name}\(", bodies), f"no test of this row calls {name}"


def test_every_function_names_its_place_in_the_chapter():
    for name in set(equations.__all__) - {"identity"}:
        assert re.search(r"5\.\d", inspect.getdoc(getattr(equations, name)) or ""), name


def test_the_example_holds():
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    exec(compile(example, "equations.md", "exec"), {})


def test_the_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_what_is_missing_would_be_seen():
    assert numbers("(5.1)-(5.3), (5.47)") == [1, 2, 3, 47]
    with pytest.raises(KeyError):
        test_source("test_equations_layers.py::test_of_nothing")
