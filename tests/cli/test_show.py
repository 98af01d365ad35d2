"""What a training run looks like: a live line in a terminal, plain lines elsewhere."""

import io
import re

import pytest
from rich.console import Console

from striate.cli import _show
from striate.training import Step

STEP = Step(
    epoch=2, epochs=4, batch=5, batches=10, loss=0.51, accuracy=0.9, lr=0.1, images_per_second=1234, seconds_left=75
)
ROW = {
    "epoch": 2,
    "train_loss": 0.5,
    "train_accuracy": 0.98765,
    "val_loss": 0.25,
    "val_accuracy": 0.5,
    "seconds": 3.21,
    "images_per_second": 12345.6,
}


def test_an_epoch_in_one_line_of_a_usual_terminal() -> None:
    line = _show.summary(ROW)
    assert line == "epoch   2  train loss 0.5000 acc  98.77 %  val loss 0.2500 acc  50.00 %  3.2 s  12,346 img/s"
    assert len(line) < 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.7, "1 h 0 min"),
        (7860, "2 h 11 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert _show.duration(seconds) == text


def test_the_live_line_has_rate_loss_accuracy_and_time_left() -> None:
    screen = io.StringIO()
    with _show.Live(Console(file=screen, force_terminal=True, width=120)) as live:
        live.progress(3, 10, "reading photos")
        live.step(STEP)
        live.epoch(ROW)
        live.note("a [bold]remark[/bold] with a path [x]")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"epoch 2/4 [━╸╺]{24}  38 % loss 0.5100  acc 90.0 %  1,234 img/s  1 min 15 s left", text)
    assert _show.summary(ROW) in text
    assert "a [bold]remark[/bold] with a path [x]" in text, "what a user wrote is no markup"


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (80, "loss 0.5100  acc 90.0 %  1,234 img/s  1 min 15 s left"),
        (72, "loss 0.5100  acc 90.0 %  1 min 15 s left"),
        (60, "loss 0.5100  1 min 15 s left"),
        (40, "1 min 15 s left"),
    ],
)
def test_a_narrow_terminal_has_whole_words(width: int, words: str) -> None:
    screen = io.StringIO()
    with _show.Live(Console(file=screen, force_terminal=True, width=width)) as live:
        live.step(STEP._replace(epoch=12, epochs=60))
        live.epoch(ROW)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(rf"epoch 12/60 [━╸╺]+  19 % {re.escape(words)}", text), text
    assert "…" not in text
    if width >= 80:
        assert "epoch   2  train 0.5000  98.77 %  val 0.2500  50.00 %  3.2 s  12,346 img/s\n" in text


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0, 12.5])
    monkeypatch.setattr(_show.time, "monotonic", lambda: next(clock))
    plain = _show.Plain()
    plain.step(STEP)  # after a second: too early
    plain.step(STEP)  # after eleven
    plain.step(STEP)  # a second later
    plain.epoch(ROW)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2/4, batch 5/10: loss 0.5100  acc 90.0 %  1,234 img/s  1 min 15 s left",
        _show.summary(ROW),
    ]
