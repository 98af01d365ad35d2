"""Under torchrun itself: what the page on scaling shows, and how a training ends. Slow: each process starts anew."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from striate.training import Run
from striate.training import _checkpoint as checkpoint

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SECONDS = 600.0
SMALL = ["--no-error-terms", "--checkpoint-every", "0", "--set", "epochs=1", "--set", "batch_size=64"]


class Job:
    """A command that runs by itself; its output goes into a file."""

    def __init__(self, arguments: list[str], place: Path) -> None:
        self.log = place / "log.txt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TORCHRUN, *arguments], cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ends(self) -> int:
        return self.process.wait(SECONDS)

    def trained(self, folder: Path, steps: int) -> None:
        """Wait until a run has made so many steps."""
        end = time.monotonic() + SECONDS
        while not any(int(p.stem[5:]) >= steps for p in folder.glob("checkpoints/step-*.safetensors")):
            assert time.monotonic() < end, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.02)

    def worker(self, rank: int) -> int:
        """The process of that rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        wanted = f"\0RANK={rank}\0".encode()
        return next(int(child) for child in children if wanted in Path(f"/proc/{child}/environ").read_bytes())


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        if job.process.poll() is None:
            job.process.terminate()
            job.process.wait(60)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def test_a_killed_worker_is_restarted_and_the_end_has_the_same_bits(tmp_path: Path, jobs: list[Job]) -> None:
    command = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "striate", "train", "digits"]
    command += ["--continue", *SMALL]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        jobs.append(Job([*command, "--out", "run"], tmp_path / name))
        if name == "killed":
            jobs[-1].trained(tmp_path / name / "run", 3)
            os.kill(jobs[-1].worker(1), signal.SIGKILL)
        assert jobs[-1].ends() == 0, jobs[-1].text
    log = jobs[-1].text
    assert log.count("striate: another process of this training ended without a word") == 1
    assert re.search(r"continuing at epoch 1, step \d", log)
    assert log.count("test accuracy") == 1
    whole, killed = (tensors(tmp_path / name / "run") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[k], killed[k]) for k in whole)
    assert Run.open(tmp_path / "killed" / "run").finished


def test_an_error_is_one_sentence_and_no_process_is_left(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(
        Job(["--standalone", "--nproc-per-node", "2", "-m", "striate", "train", "absent", "--out", "run"], tmp_path)
    )
    assert jobs[0].ends() != 0
    assert jobs[0].text.count("no known data set and no folder 'absent'") == 1
    assert re.search(r"exitcode *: 2", jobs[0].text), "torchrun tells the processes' own code"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_leaves_one_checkpoint_and_goes_on(
    tmp_path: Path, jobs: list[Job], number: signal.Signals
) -> None:
    command = ["--standalone", "--nproc-per-node", "2", "-m", "striate", "train"]
    jobs.append(Job([*command, "digits", "--out", "run", *SMALL], tmp_path))
    jobs[0].trained(tmp_path / "run", 2)
    jobs[0].process.send_signal(number)
    assert jobs[0].ends() != 0
    assert jobs[0].text.count("striate: stopped in epoch 1; continue with: striate train --resume run") == 1
    assert json.loads((tmp_path / "run" / "stopped.json").read_text())["state"] == "interrupted"
    jobs.append(Job([*command, "--resume", "run"], tmp_path))
    assert jobs[1].ends() == 0, jobs[1].text
    assert Run.open(tmp_path / "run").finished


def test_the_commands_of_the_page_run(tmp_path: Path, jobs: list[Job]) -> None:
    """Those for one machine, in the order in which a reader meets them."""
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\$ (striate train) |torchrun (--standalone) )(.*)$", page, re.MULTILINE)
    assert len(commands) >= 5
    for striate, standalone, rest in commands:
        if striate:
            command = ["--standalone", "--nproc-per-node", "1", "-m", "striate", "train", *shlex.split(rest)]
        else:
            command = [standalone, *shlex.split(rest)]
        jobs.append(Job(command, tmp_path))
        assert jobs[-1].ends() == 0, jobs[-1].text
