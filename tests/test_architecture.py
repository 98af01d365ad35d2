"""The plan of the house holds: imports go down the list of rooms, and light rooms stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import striate

SOURCE = Path(striate.__file__).parent
# docs/architecture.md: a room imports from the rooms above it (and itself), never from those below
ORDER = [
    "errors",
    "files",
    "geometry",
    "reference",
    "ops",
    "nn",
    "models",
    "insight",
    "runtime",
    "data",
    "evaluation",
    "training",
    "bundle",
    "cli",
]


def room(path: Path) -> str:
    """The room of a source file: its folder under striate, or the module itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imported_rooms(tree: ast.AST) -> set[str]:
    """The rooms that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "striate" else [f"striate.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("striate.") and "__" not in name}
    return found


def violations(path: Path, text: str) -> list[str]:
    own = room(path)
    if own in {"__init__", "__main__"}:
        return []
    allowed = set(ORDER[: ORDER.index(own) + 1])
    return [f"{path.relative_to(SOURCE)} imports {name}" for name in sorted(imported_rooms(ast.parse(text)) - allowed)]


def test_imports_go_down_the_list_only() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 50
    assert [line for path in files for line in violations(path, path.read_text())] == []


def test_the_rule_can_be_broken() -> None:
    path = SOURCE / "geometry" / "_window.py"
    assert violations(path, "from striate import ops") == ["geometry/_window.py imports ops"]
    assert violations(path, "def f():\n    import striate.training._loop") == ["geometry/_window.py imports training"]
    assert violations(SOURCE / "cli" / "_train.py", "from striate.errors import InputError") == []


def test_every_room_is_in_the_plan() -> None:
    plan = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    assert rooms <= set(ORDER)
    assert all(f"  {name}/" in plan for name in rooms)


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import striate", {"torch", "numpy", "PIL", "typer", "importlib.metadata"}),
        ("import striate.geometry", {"torch", "numpy"}),
        ("import striate.reference", {"torch"}),
        ("import striate.models", {"torch"}),
        (
            "import striate.bundle",
            {"torch._dynamo", "striate.training", "striate.insight", "jinja2", "scipy"},
        ),
    ],
)
def test_light_imports_stay_light(statement: str, heavy: set[str]) -> None:
    assert modules_after(statement) & heavy == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert "torch" in modules_after("import striate.nn")


def test_no_pickle() -> None:
    """Weights are safetensors and everything else is JSON: nothing that could run code is read or written.

    Other libraries' files are read in one place by PyTorch's unpickler for tensors alone.
    """
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(names), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr != "save", path
                assert node.attr != "load" or path == SOURCE / "models" / "_weight_files.py", path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path
