"""The comparison with a plain PyTorch script: both learn from the same files, and the table says what was measured."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pictures import write_photos
from striate.data import open_data
from striate.training import named_recipe

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import photos_against_plain_torch as benchmark
import plain_photos as plain

from library_networks import ResNet


def test_the_plain_network_is_resnet_18() -> None:
    """The network of the tests' other people, tensor by tensor; and with its weights, its function."""
    ours, theirs = plain.resnet18(5), ResNet((2, 2, 2, 2), bottleneck=False, classes=5)
    assert [value.shape for value in ours.state_dict().values()] == [v.shape for v in theirs.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 40, 48)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_both_learn_and_are_measured_on_the_same_files(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", per_class=12)
    divided = benchmark.divided(tmp_path / "photos", ["data.size=20,20"], seed=3)
    splits = open_data(tmp_path / "photos", named_recipe("photos").data, seed=3).splits
    for name in ("train", "test"):
        assert [(Path(f).relative_to(tmp_path / "photos").as_posix(), k) for f, k in divided[name]] == list(
            zip(splits[name].ids, splits[name].labels.tolist(), strict=True)
        )
    assert divided["classes"] == ["dark", "light"]


def test_the_plain_script_learns_for_the_time_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "photos", per_class=12)
    divided = benchmark.divided(tmp_path / "photos", [], seed=0)
    (tmp_path / "split.json").write_text(json.dumps(divided))
    clock = iter(range(10_000))
    monkeypatch.setattr(plain.time, "process_time", lambda: next(clock))  # a second for each look at it
    monkeypatch.setattr(sys, "argv", ["plain", str(tmp_path / "split.json"), "--seconds", "7", "--size", "32"])
    threads = torch.get_num_threads()
    try:
        plain.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["total"] == len(divided["test"])
    assert 0 <= found["correct"] <= found["total"]
    assert 3 <= found["epochs"] <= 7, "one batch an epoch"


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (16, 16), (300, 4)])
def test_crops_have_the_size_asked_for(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert plain.random_resized_crop(image, 24).size == plain.centre(image, 24).size == (24, 24)


def test_a_row_says_what_was_measured() -> None:
    row = benchmark.Result("plain", 1, correct=90, total=100, epochs=7.5, seconds=90.0).line()
    assert row == "| plain | 1 | 90.0 % (82.6 to 94.5) | 90 of 100 | 7.5 | 1.5 min |"


def test_a_command_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"failed, see .*log"):
        benchmark.cpu_seconds([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    assert benchmark.cpu_seconds([sys.executable, "-c", "print(sum(range(10**6)))"], tmp_path / "log") > 0
