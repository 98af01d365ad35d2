"""Kill one of several processes that train together, again and again: does torchrun restart them, is the end the same?

    python benchmarks/kill_a_worker.py --kills 12

Small runs on the embedded digits, in two processes and in three, started with `torchrun --max-restarts ... -m striate
train ... --continue`. Each is trained once without interruption; then again while one process at a time, chosen at
random, is killed with SIGKILL at a random moment of its training. A checkpoint is written after every step, so that
many kills fall into the writing of one. A kill counts as restarted when training has gone on after it. Last checkpoint,
best weights, bundle and metrics must equal those of the uninterrupted run with as many processes, bit for bit.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from kill_and_resume import final_weights, same

SECONDS = 900.0  # a run that takes longer hangs
KINDS = {
    "LeNet-5, MAP loss, AdamW, average, distortions, 2 processes": (2, ["--set", "batch_size=64"]),
    "batch norm, dropout, Nesterov, clipping, 3 processes": (
        3,
        [
            *("--recipe", "digits-convnet", "--set", "batch_size=100", "--set", "optimizer.clip_norm=1"),
            *("--set", "model.options.blocks=[[1,8,2],[1,16,2]]", "--set", "model.options.dropout=0.5"),
        ],
    ),
}


class Job:
    """A training under torchrun."""

    def __init__(self, folder: Path, processes: int, settings: list[str], epochs: int) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1000"]
        command += ["--nproc-per-node", str(processes), "-m", "striate", "train", "digits", "--out", str(folder)]
        command += ["--continue", "--no-error-terms", "--checkpoint-every", "0", "--set", f"epochs={epochs}", *settings]
        self.log = folder.with_suffix(".log").open("w+b")
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT)

    @property
    def running(self) -> bool:
        """Whether it goes on; ends the program if the run failed by itself."""
        code = self.process.poll()
        if code:
            self.log.seek(0)
            sys.exit(f"a run failed by itself (exit code {code}):\n{self.log.read()[-4000:].decode(errors='replace')}")
        return code is None

    def step(self) -> int:
        """The step of the newest checkpoint, 0 if there is none."""
        steps = [int(path.stem[5:]) for path in self.folder.glob("checkpoints/step-*.safetensors")]
        return max(steps, default=0)

    def wait_beyond(self, step: int) -> bool:
        """Wait until training has gone beyond a step; False if it ended before."""
        end = time.monotonic() + SECONDS
        while self.running:
            if self.step() > step:
                return True
            if time.monotonic() > end:
                self.process.kill()
                sys.exit("a run hangs")
            time.sleep(0.01)
        return False

    def workers(self) -> list[int]:
        """The processes that train."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if b"\0RANK=" in Path(f"/proc/{child}/environ").read_bytes()]


def uninterrupted(folder: Path, kind: str, epochs: int) -> dict[str, np.ndarray]:
    """What a run ends in that nobody disturbs."""
    job = Job(folder, *KINDS[kind], epochs)
    while job.running:
        time.sleep(0.1)
    return final_weights(folder)


def disturbed(folder: Path, kind: str, epochs: int, chance: random.Random, most: int) -> tuple[int, int]:
    """Train while processes are killed, at most so many times; return kills and how many times training went on."""
    job = Job(folder, *KINDS[kind], epochs)
    kills = restarted = step = 0
    while kills < most and job.wait_beyond(step):
        time.sleep(chance.uniform(0.0, 2.0))
        step = job.step()
        try:
            os.kill(chance.choice(job.workers()), signal.SIGKILL)
        except (OSError, IndexError):  # it ended just now
            break
        kills += 1
        restarted += job.wait_beyond(step) or job.process.returncode == 0
        print(f"{kind}: killed at step {step}, {restarted} of {kills} restarted", file=sys.stderr, flush=True)
    while job.running:
        time.sleep(0.1)
    return kills, restarted


def main() -> None:
    """Count kills, restarts and equal ends; exit code 1 if a run was not restarted or ended differently."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=12)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = options.parse_args()
    chance = random.Random(asked.seed)
    kills = restarted = runs = equal = 0
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        whole = {kind: uninterrupted(room / f"whole-{k}", kind, asked.epochs) for k, kind in enumerate(KINDS)}
        while kills < asked.kills:
            kind = list(KINDS)[runs % len(KINDS)]
            done = disturbed(room / f"run-{runs}", kind, asked.epochs, chance, -(-asked.kills // len(KINDS)))
            kills, restarted = kills + done[0], restarted + done[1]
            equal += same(whole[kind], final_weights(room / f"run-{runs}"))
            runs += 1
    if asked.json:
        print(json.dumps({"kills": kills, "restarted": restarted, "runs": runs, "bit_identical": equal}))
    else:
        print(f"{kills} kills in {runs} runs: {restarted} restarted, {equal} of {runs} ends bit-identical")
    sys.exit(0 if restarted == kills and equal == runs else 1)


if __name__ == "__main__":
    main()
