"""Page faults are counted in a process in which nothing else has run."""

import os
import subprocess
import sys
from pathlib import Path


def test_the_allocator_in_a_process_of_its_own() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    file = Path(__file__).with_name("test_allocator.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
