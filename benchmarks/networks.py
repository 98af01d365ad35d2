"""Time whole networks: training steps and inference, Striate beside PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/networks.py --write docs/performance.md

Every measurement is a process of its own, which warms up, times its steps and reports their median and its peak memory.
The processes of all variants run in shuffled order, several rounds, as many as fit into `--minutes`; what counts is the
median of the rounds. "pytorch again" is "pytorch" measured as another: the null control. Weights and data are random.

"pytorch" is eager PyTorch as people write it: plain torch.nn modules, batches as N x C x H x W, float32. "best" has
channels last, memory kept by the allocator and, for inference, inference mode; "bf16" is that under autocast, and
"torch.compile" is "best" compiled, which its first step shows (in the first round nothing is cached; --no-compile
leaves it out). ONNX Runtime and OpenVINO take the exported network, where they are installed (pip install onnxruntime
openvino). GoogLeNet is trained as its paper has it, with the losses of its auxiliary classifiers.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plain_torch import compiled, plain
from sections import machine, versions, write_record, write_section
from variants import AGAIN, Job, Row, Step, add_options, comparison, in_rounds, noise, summary, table, timed

from striate.bundle import prepare
from striate.models import build_as_published, card
from striate.models.auxiliary import HasAuxiliaries
from striate.runtime import Precision, Runtime, RuntimeOptions, choose
from striate.training import OptimizerOptions
from striate.training._optimizer import make_optimizer


class Load(NamedTuple):
    """What is timed: a network and how many pictures a step has."""

    network: str
    batch: int


TRAINING = [
    Load("vgg-a", 16),
    Load("vgg-d", 8),
    Load("alexnet", 64),
    Load("resnet-18", 16),
    Load("resnet-50", 8),
    Load("googlenet", 16),
]
BATCHES = [Load("vgg-d", 8), Load("resnet-18", 16), Load("resnet-50", 16), Load("googlenet", 16), Load("alexnet", 16)]
SINGLES = [Load("vgg-d", 1), Load("resnet-18", 1), Load("resnet-50", 1)]
TRAINERS = ("pytorch", "pytorch best", "torch.compile", "pytorch bf16", "striate f32", "striate bf16")
PREDICTORS = (
    "pytorch",
    "pytorch best",
    "torch.compile",
    "onnxruntime",
    "openvino f32",
    "openvino bf16",
    "striate exact",
    "striate",
    "striate bf16",
)
PREPARED: dict[str, Precision] = {"striate exact": "exact", "striate": "high", "striate bf16": "bf16"}
TWICE = ("resnet-18", "vgg-d")  # networks whose "pytorch" is measured as two
QUICK = ("resnet-18",)
COMPARED = {
    "training": [
        ("striate f32", "pytorch"),
        ("striate f32", "pytorch best"),
        ("striate f32", "torch.compile"),
        ("striate bf16", "pytorch"),
        ("striate bf16", "pytorch bf16"),
    ],
    "inference": [
        ("striate", "pytorch"),
        ("striate", "pytorch best"),
        ("striate", "torch.compile"),
        ("striate", "onnxruntime"),
        ("striate", "openvino f32"),
        ("striate bf16", "pytorch"),
        ("striate bf16", "openvino bf16"),
    ],
}


def main() -> None:
    """Measure, print the tables, write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = {load.network for load in (*TRAINING, *BATCHES, *SINGLES)}
    add_options(parser, networks, rounds=3, minutes=38)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes minutes")
    asked = parser.parse_args()
    if asked.one:
        *words, exports = asked.one
        print(json.dumps(measure(Job.from_words(words), Path(exports), 0.2 if asked.quick else 1.5)))
        return
    only = asked.networks or (list(QUICK) if asked.quick else None)
    jobs = planned(asked.tasks, only, asked.threads, compiled=not (asked.no_compile or asked.quick))
    words = ["--quick"] if asked.quick else []
    found = in_rounds(__file__, jobs, 1 if asked.quick else asked.rounds, asked.minutes, words)
    rows = [summary(job, each) for job, each in found.items()]
    print(text := report(rows))
    if asked.write:
        write_section(asked.write, "networks", text)
        write_record(asked.write, "networks", {"rows": rows}, *packages())


def planned(tasks: Sequence[str], networks: Sequence[str] | None, threads: int, *, compiled: bool = True) -> list[Job]:
    """Return every measurement, without peers that are not installed."""
    loads = {"training": TRAINING, "inference": BATCHES + SINGLES}
    variants = {"training": TRAINERS, "inference": PREDICTORS}
    jobs = []
    for task in tasks:
        for load in loads[task]:
            if networks and load.network not in networks:
                continue
            there = [v for v in variants[task] if _there(v, compiled)]
            once_more = [f"pytorch{AGAIN}"] if load.network in TWICE else []
            jobs += [Job(task, *load, threads, variant) for variant in there + once_more]
    return jobs


def _there(variant: str, compiled: bool) -> bool:
    package = variant.split(maxsplit=1)[0]
    if package == "torch.compile":
        return compiled
    return package in {"pytorch", "striate"} or find_spec(package) is not None


def measure(job: Job, exports: Path, seconds: float) -> Row:
    """Return the times of a step, the peak memory of the process and, of a prediction, the logits' error."""
    torch.set_num_threads(job.threads)
    with ExitStack() as stack:
        if job.task == "training":
            return timed(training(job, stack), seconds=seconds)
        step = inference(job, stack, exports)
        found = timed(step, seconds=seconds)
        logits = step()[:1].double()
    return found | {"off": error(logits, job)}


def training(job: Job, stack: ExitStack) -> Step:
    """Return a training step: forward, cross-entropy (auxiliary classifiers with their weights), backward, SGD."""
    torch.manual_seed(0)
    ours = job.way.startswith("striate")
    model = build_as_published(job.network).train()
    if ours:
        precision: Precision = "bf16" if job.way == "striate bf16" else "high"
        runtime = choose(RuntimeOptions(precision=precision, threads=job.threads))
    else:
        model, runtime = plain(model), peer_runtime(job)
    stack.enter_context(runtime.applied())
    model = laid_out(model, runtime)
    images = runtime.laid_out(pictures(job))
    labels = torch.randint(0, card(job.network).classes, (job.batch,))
    optimizer = (
        make_optimizer(OptimizerOptions("sgd", lr=1e-4), model)
        if ours
        else torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    )
    weights = model.auxiliary_weights if isinstance(model, HasAuxiliaries) else {}
    every = model.forward_auxiliaries if isinstance(model, HasAuxiliaries) else lambda x: (model(x), {})
    compute = compiled(every) if job.way == "torch.compile" else every

    def step() -> Tensor:
        with runtime.autocast():
            logits, auxiliaries = compute(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        for name, weight in weights.items():
            loss = loss + weight * nn.functional.cross_entropy(auxiliaries[name].float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def inference(job: Job, stack: ExitStack, exports: Path) -> Callable[[], Tensor]:
    """Return a prediction."""
    stack.enter_context(torch.inference_mode() if job.way != "pytorch" else torch.no_grad())
    if job.way.split(maxsplit=1)[0] in {"onnxruntime", "openvino"}:
        return exported(job, exports)
    model, images = network_and_pictures(job)
    if job.way in PREPARED:
        runtime = choose(RuntimeOptions(precision=PREPARED[job.way], threads=job.threads))
        model = prepare(model, PREPARED[job.way])
    else:
        runtime = peer_runtime(job)
    stack.enter_context(runtime.applied())
    ready, x = laid_out(model, runtime), runtime.laid_out(images)
    if job.way == "torch.compile":
        ready = compiled(ready)
    return lambda: ready(x)


def network_and_pictures(job: Job) -> tuple[nn.Module, Tensor]:
    """Return a network for inference, its statistics of batch normalisation random too, and pictures: always the same.

    It is of plain modules, but for Striate's variants.
    """
    torch.manual_seed(0)
    model = build_as_published(job.network).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return model if job.way.startswith("striate") else plain(model), pictures(job)


@torch.no_grad()
def error(logits: Tensor, job: Job) -> float:
    """Return how far the first picture's logits are from float64's, of the largest of these."""
    model, images = network_and_pictures(job)
    exact = model.double()(images[:1].double())
    return float(f"{float((logits - exact).abs().max() / exact.abs().max()):.1e}")


def exported(job: Job, exports: Path) -> Callable[[], Tensor]:
    """Return a prediction by ONNX Runtime or OpenVINO; the exported network is kept for the other processes."""
    file = exports / f"{job.network}-{job.batch}.onnx"
    if not file.exists():
        model, images = network_and_pictures(job)
        torch.onnx.export(model, (images,), file, dynamo=True, verbose=False)
        torch.save(images, file.with_suffix(".pictures"))
        del model
    values = torch.load(file.with_suffix(".pictures")).numpy()
    if job.way == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: values}
        return lambda: torch.from_numpy(session.run(None, feed)[0])
    import openvino

    hint = "bf16" if job.way.endswith("bf16") else "f32"
    config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(file, "CPU", config).create_infer_request()
    return lambda: torch.from_numpy(request.infer({0: values})[0])


def peer_runtime(job: Job) -> Runtime:
    """Return how PyTorch computes: its own ways, or its best."""
    if job.way == "pytorch":
        return Runtime(threads=job.threads)
    precision: Precision = "bf16" if job.way == "pytorch bf16" else "exact"
    return Runtime(precision=precision, channels_last=True, threads=job.threads, keep_memory=True)


def laid_out(model: nn.Module, runtime: Runtime) -> nn.Module:
    """Return the model with its kernels in the runtime's memory layout."""
    return model.to(memory_format=torch.channels_last) if runtime.channels_last else model  # type: ignore[call-overload,no-any-return]


def pictures(job: Job) -> Tensor:
    """Return random pictures of the size that the network's paper has."""
    return torch.randn(job.batch, card(job.network).channels, *card(job.network).size)


def report(rows: list[Row]) -> str:
    """Return how the variants compare, then all that was measured, task by task."""
    rounds = max(row.get("rounds", 0) for row in rows)
    parts = [f"{machine()}; {versions(*packages())}; medians of up to {rounds} processes. {noise(rows)}"]
    columns = ["network", "batch", "variant", "ms", "pytorch / this", "slowest / fastest round", "first step s"]
    columns.append("peak MiB")
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        parts.append(f"### {task.capitalize()}\n\nHow many times as fast:")
        parts.append(comparison(own, COMPARED[task], ["network", "batch"]))
        parts.append(table(own, [*columns, "error against float64"] if task == "inference" else columns))
    return "\n\n".join(parts)


def packages() -> list[str]:
    """Return the names of what is compared."""
    return ["torch", *(name for name in ("onnxruntime", "openvino") if find_spec(name))]


if __name__ == "__main__":
    main()
