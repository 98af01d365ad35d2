"""Time whole networks: training steps and inference, Striate beside PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/networks.py --write docs/performance.md

Every measurement is a process of its own, which warms up, times its steps and reports their median and its peak memory.
The processes of all variants run in shuffled order, several rounds; what counts is the median of the rounds, and how
far the rounds of one variant lie apart is shown beside it, as the null control. Weights and data are random.

"pytorch" is eager PyTorch as people write it: plain torch.nn modules, batches as N x C x H x W, float32. "best" has
channels last, memory kept by the allocator and, for inference, inference mode; "bf16" is that under autocast. ONNX
Runtime and OpenVINO take the exported network, where they are installed (pip install onnxruntime openvino).
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plain_torch import plain
from sections import machine, markdown_table, versions, write_section

from striate.bundle import prepare
from striate.models import build_as_published, card
from striate.runtime import Runtime, RuntimeOptions, choose

Step = Callable[[], Tensor]


class Load(NamedTuple):
    """What is timed: a network and how many pictures a step has."""

    network: str
    batch: int


TRAINING = [Load("vgg-a", 8), Load("vgg-d", 4), Load("alexnet", 32), Load("resnet-18", 16), Load("resnet-50", 8)]
BATCHES = [Load("vgg-d", 8), Load("resnet-18", 16), Load("resnet-50", 16), Load("googlenet", 16), Load("alexnet", 16)]
SINGLES = [Load("vgg-d", 1), Load("resnet-18", 1), Load("resnet-50", 1)]
TRAINERS = ("pytorch", "pytorch best", "pytorch bf16", "striate f32", "striate bf16")
PREDICTORS = (
    "pytorch",
    "pytorch best",
    "onnxruntime",
    "openvino f32",
    "openvino bf16",
    "striate exact",
    "striate",
    "striate bf16",
)


def main() -> None:
    """Measure, print the tables, write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="only these")
    parser.add_argument("--tasks", nargs="+", choices=("training", "inference"), default=["training", "inference"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables into this page, and a .json beside it"
    )
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)  # what the processes are called with
    arguments = parser.parse_args()
    if arguments.one:
        task, network, batch, variant, exports = arguments.one
        print(json.dumps(measure(task, Load(network, int(batch)), variant, arguments.threads, Path(exports))))
        return
    jobs = planned(arguments.tasks, arguments.networks)
    results: dict[tuple[str, Load, str], list[dict[str, Any]]] = {job: [] for job in jobs}
    order = [job for turn in range(arguments.rounds) for job in random.Random(turn).sample(jobs, len(jobs))]
    with tempfile.TemporaryDirectory() as exports:
        for number, job in enumerate(order, 1):
            results[job].append(in_a_process(*job, arguments.threads, exports))
            task, load, variant = job
            print(
                f"{number}/{len(order)} {task} {load.network} x {load.batch}, {variant}: {results[job][-1]}", flush=True
            )
    rows = [summary(*job, found) for job, found in results.items()]
    text = report(rows, arguments.rounds)
    print(text)
    if arguments.write:
        write_section(arguments.write, "networks", text)
        record = {"machine": machine(), "versions": installed(), "rounds": arguments.rounds, "rows": rows}
        arguments.write.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


def planned(tasks: list[str], networks: list[str] | None) -> list[tuple[str, Load, str]]:
    """Return (task, load, variant) of every measurement, without peers that are not installed."""
    there = [v for v in PREDICTORS if v.split()[0] in {"pytorch", "striate"} or find_spec(v.split()[0])]
    jobs = [("training", load, variant) for load in TRAINING for variant in TRAINERS]
    jobs += [("inference", load, variant) for load in BATCHES + SINGLES for variant in there]
    return [job for job in jobs if job[0] in tasks and (not networks or job[1].network in networks)]


def in_a_process(task: str, load: Load, variant: str, threads: int, exports: str) -> dict[str, Any]:
    """Measure in a fresh process."""
    one = ["--one", task, load.network, str(load.batch), variant, exports]
    command = [sys.executable, __file__, "--threads", str(threads), *one]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measure(task: str, load: Load, variant: str, threads: int, exports: Path) -> dict[str, Any]:
    """Return the median milliseconds of a step, the peak memory of the process and the logits' error."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with ExitStack() as stack:
        if task == "training":
            step, off = training(load, variant, threads, stack), None
        else:
            step, off = inference(load, variant, threads, stack, exports)
        step()
        step()
        times: list[float] = []
        while len(times) < 5 or (sum(times) < 4.0 and len(times) < 50):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"ms": round(statistics.median(times) * 1e3, 2), "mib": peak, "off": off}


def training(load: Load, variant: str, threads: int, stack: ExitStack) -> Step:
    """Return a training step: forward, cross-entropy, backward, SGD with momentum."""
    runtime = peer_runtime(variant, threads)
    model = build_as_published(load.network)
    if variant.startswith("striate"):
        precision = "bf16" if variant == "striate bf16" else "high"
        runtime = choose(RuntimeOptions(precision=precision, threads=threads))
    else:
        model = plain(model)
    stack.enter_context(runtime.applied())
    model = laid_out(model.train(), runtime)
    images = runtime.laid_out(pictures(load))
    labels = torch.randint(0, card(load.network).classes, (load.batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> Tensor:
        with runtime.autocast():
            logits = model(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def inference(load: Load, variant: str, threads: int, stack: ExitStack, exports: Path) -> tuple[Step, float]:
    """Return a prediction, and how far the first picture's logits are from float64's, of the largest."""
    model = build_as_published(load.network).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    images = pictures(load)
    model = model if variant.startswith("striate") else plain(model)
    with torch.no_grad():
        exact = model.double()(images[:1].double())
    model.float()
    stack.enter_context(torch.inference_mode() if variant != "pytorch" else torch.no_grad())
    if variant.split(maxsplit=1)[0] in {"onnxruntime", "openvino"}:
        step = exported(model, load, images, variant, threads, exports)
    else:
        runtime = peer_runtime(variant, threads)
        if variant.startswith("striate"):
            precision = {"striate": "high", "striate exact": "exact", "striate bf16": "bf16"}[variant]
            runtime = choose(RuntimeOptions(precision=precision, threads=threads))
            model = prepare(model, precision)
        stack.enter_context(runtime.applied())
        ready, x = laid_out(model, runtime), runtime.laid_out(images)

        def step() -> Tensor:
            logits: Tensor = ready(x)
            return logits

    found = step()[:1].double()
    return step, float(f"{float((found - exact).abs().max() / exact.abs().max()):.1e}")


def exported(model: nn.Module, load: Load, images: Tensor, variant: str, threads: int, exports: Path) -> Step:
    """Return a prediction by ONNX Runtime or OpenVINO; the exported network is kept for the other processes."""
    file = exports / f"{load.network}-{load.batch}.onnx"
    if not file.exists():
        torch.onnx.export(model, (images,), file, dynamo=True, verbose=False)
    if variant == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: images.numpy()}
        return lambda: torch.from_numpy(session.run(None, feed)[0])
    import openvino

    hint = "bf16" if variant.endswith("bf16") else "f32"
    config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(file, "CPU", config).create_infer_request()
    values = images.numpy()
    return lambda: torch.from_numpy(request.infer({0: values})[0])


def peer_runtime(variant: str, threads: int) -> Runtime:
    """Return how PyTorch computes: its own ways, or its best."""
    if variant == "pytorch":
        return Runtime(threads=threads)
    precision = "bf16" if variant == "pytorch bf16" else "exact"
    return Runtime(precision=precision, channels_last=True, threads=threads, keep_memory=True)


def laid_out(model: nn.Module, runtime: Runtime) -> nn.Module:
    """Return the model with its kernels in the runtime's memory layout."""
    return model.to(memory_format=torch.channels_last) if runtime.channels_last else model  # type: ignore[call-overload,no-any-return]


def pictures(load: Load) -> Tensor:
    """Return random pictures of the size that the network's paper has."""
    return torch.randn(load.batch, card(load.network).channels, *card(load.network).size)


def summary(task: str, load: Load, variant: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of the rounds, and the slowest round over the fastest."""
    row: dict[str, Any] = {"task": task, "network": load.network, "batch": load.batch, "variant": variant}
    times = [one["ms"] for one in found if "ms" in one]
    if not times:
        return row | {"error": found[0]["error"]}
    rest = {"mib": max(one["mib"] for one in found if "mib" in one), "off": found[0].get("off")}
    return row | {"ms": statistics.median(times), "spread": round(max(times) / min(times), 2), **rest}


def report(rows: list[dict[str, Any]], rounds: int) -> str:
    """Return a table for each task, a row for each load and variant."""
    parts = [f"{machine()}; {installed()}; medians of {rounds} processes."]
    for task in dict.fromkeys(row["task"] for row in rows):
        head = ["network", "batch", "variant", "ms", "pytorch / this", "slowest / fastest round", "peak MiB"]
        body = [line(row, rows) for row in rows if row["task"] == task]
        if task == "inference":
            head.append("error against float64")
        else:
            body = [one[:-1] for one in body]
        parts.append(f"### {task.capitalize()}\n\n{markdown_table(head, body, right=3)}")
    return "\n\n".join(parts)


def line(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return a row of the table."""
    start = [f"`{row['network']}`", str(row["batch"]), row["variant"]]
    if "ms" not in row:
        return [*start, row["error"], "", "", "", ""]
    same = ("task", "network", "batch")
    base = next(r for r in rows if r["variant"] == "pytorch" and all(r[key] == row[key] for key in same))
    times = f"{base['ms'] / row['ms']:.2f}" if "ms" in base else ""
    off = "" if row["off"] is None else f"{row['off']:.0e}"
    return [*start, f"{row['ms']:.1f}", times, f"{row['spread']:.2f}", str(row["mib"]), off]


def installed() -> str:
    """Return the versions of what is compared."""
    return versions("torch", *(name for name in ("onnxruntime", "openvino") if find_spec(name)))


if __name__ == "__main__":
    main()
