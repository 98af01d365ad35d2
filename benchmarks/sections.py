"""Reports that commands write into sections of one Markdown file, and what they were measured on."""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def write_section(path: Path, name: str, text: str) -> None:
    """Put the text between the marks <!-- name --> and <!-- /name --> of a file, or at its end if it has none."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    new = marked.sub(lambda _: section, old) if marked.search(old) else f"{old.rstrip()}\n\n{section}".lstrip()
    path.write_text(new.rstrip() + "\n", encoding="utf-8")


def write_record(page: Path, name: str, record: dict[str, Any], *packages: str) -> None:
    """Put a section's numbers, the machine and the versions into PAGE.json, which has an entry for each section."""
    path = page.with_suffix(".json")
    records = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    records[name] = {"machine": machine(), "versions": versions(*packages), **record}
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def markdown_table(head: list[str], rows: list[list[str]], right: int) -> str:
    """Return a Markdown table whose columns from number `right` on are set to the right."""
    rule = ["---" if column < right else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def machine() -> str:
    """Say in one line which processor this is, how many threads PyTorch takes and how busy the machine was."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.is_file() else None
    name = found.group(1) if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {cores} cores, {torch.get_num_threads()} threads of PyTorch{busy}"


def versions(*packages: str) -> str:
    """Return Python's version and those of the packages."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
