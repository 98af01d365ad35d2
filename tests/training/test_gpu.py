"""Training on a GPU, as `striate train` does it: from pictures to a model that computes anywhere."""

import json
from pathlib import Path

import pytest
import torch

from commands import striate
from gpu_checks import needs_gpu

pytestmark = needs_gpu


def trained(folder: Path, *words: object) -> None:
    code, _, err = striate("train", "digits", "--device", "cuda", "--out", folder, *words)
    assert code == 0, err


def accuracy(folder: Path, *words: object) -> float:
    code, out, err = striate("evaluate", folder, "digits", "--json", *words)
    assert code == 0, err
    return float(json.loads(out)["accuracy"])


@pytest.mark.parametrize("precision", ["exact", "high", "bf16"])
def test_a_model_trained_there_is_as_good_on_a_processor(tmp_path: Path, precision: str) -> None:
    trained(tmp_path / "run", "--recipe", "digits-convnet", "--precision", precision)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["device"], run["runtime"]["precision"], run["runtime"]["small"]) == ("cuda", precision, False)
    judged = json.loads((tmp_path / "run" / "evaluation.json").read_text())["accuracy"]
    assert judged > 0.95
    assert accuracy(tmp_path / "run") == pytest.approx(judged, abs=0.006), "two pictures of 360 may change sides"


def test_bfloat16_is_what_a_gpu_of_today_computes_in(tmp_path: Path) -> None:
    large = ("--recipe", "digits-convnet", "--set", "model.options.blocks=[[2, 64, 2], [2, 64, 2]]")
    trained(tmp_path / "run", *large, "--set", "epochs=1")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["runtime"]["precision"] == (
        "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "high"
    )


def test_the_memory_of_a_gpu_is_measured_and_kept_to(tmp_path: Path) -> None:
    """Batches of 1,024 pictures through 64 maps take about a gigabyte; in parts they stay below 300 MiB."""
    words = ("--recipe", "digits-convnet", "--set", "model.options.blocks=[[2, 256, 2], [2, 256, 2]]")
    words += ("--set", "batch_size=1024", "--set", "epochs=2")
    trained(tmp_path / "run", *words, "--fit-memory", 300)
    found = json.loads((tmp_path / "run" / "memory.json").read_text())
    assert 0 < found["micro_batch"] < 1024
    assert found["peak_mib"] <= 300
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["memory_mib"] for row in rows) <= 300


def test_a_full_gpu_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((200 << 20) / total)
    try:
        words = ("--recipe", "digits-convnet", "--set", "model.options.blocks=[[2, 256, 2], [2, 256, 2]]")
        code, _, err = striate(
            "train", "digits", "--device", "cuda", *words, "--set", "batch_size=1024", "--out", tmp_path / "run"
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert code == 1
    assert "--set micro_batch=512" in err
    assert "Traceback" not in err


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    code, _, err = striate("train", "digits", "--device", "cuda:99", "--out", tmp_path / "run")
    assert code == 1
    assert "device 'cuda:99' cannot be used here" in err
    assert not (tmp_path / "run").exists()
