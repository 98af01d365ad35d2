"""The report: complete, offline, safe with hostile names, the same bytes for the same arguments."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from striate.data import ClassMap, ImageError, Unreadable
from striate.errors import StriateError
from striate.evaluation import Evaluation, judge, write_report
from striate.evaluation._charts import Series, confusion_picture, line_chart, reliability_chart, thumbnail

HOSTILE = "</title><script>alert('&')</script>\"x"
VOID = {"meta", "img", "br", "circle", "path", "rect", "link", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags and text, and checks that every element is closed where it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    reader.text = re.sub(r"\s+", " ", reader.text)
    return reader


def evaluation(k: int = 4, n: int = 60, temperature: float = 1.5, names: list[str] | None = None) -> Evaluation:
    generator = np.random.default_rng(k)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += 1
    return judge(
        logits,
        labels,
        ClassMap(names or [f"class {i}" for i in range(k)]),
        [f"s{i}" for i in range(n)],
        temperature=temperature,
    )


def history(epochs: int) -> list[dict[str, object]]:
    keys = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
    return [{"epoch": e, **{key: 1 / (e + i) for i, key in enumerate(keys)}} for e in range(1, epochs + 1)]


def picture(index: int) -> np.ndarray:
    return np.full((1, 8, 6), index, np.uint8)


def test_everything_is_in_it(tmp_path):
    path = tmp_path / "r.html"
    judged = evaluation()
    write_report(
        path,
        title="lenet5 on digits",
        evaluation=judged,
        history=history(5),
        facts={"Model": "LeNet-5", "Optimiser": {"name": "sgd", "lr": 0.1}, "Seed": 0},
        pictures=picture,
        unreadable=[Unreadable("photos/broken.jpg", "the picture is damaged")],
    )
    page = read(path)
    low, high = judged.interval
    for words in (
        f"{judged.correct} of 60 right; 95 % interval {100 * low:.2f} % to {100 * high:.2f} %",
        "Model LeNet-5",
        "Optimiser.name sgd",
        "Optimiser.lr 0.1",
        "Seed 0",
        "After calibration, temperature 1.500",
        "photos/broken.jpg the picture is damaged",
        "1 could not be read",
        f"of {judged.total - judged.correct} in all",
    ):
        assert words in page.text
    titles = [dict(attributes)["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert [title.split(":")[0] for title in titles] == [
        "Loss", "Accuracy", "Learning rate", "Reliability before calibration", "Reliability after calibration",
    ]  # fmt: skip
    assert sum(tag == "img" for tag, _ in page.tags) == len(judged.worst)


def test_the_confusion_table_has_every_number_in_its_place(tmp_path):
    write_report(tmp_path / "r.html", title="t", evaluation=evaluation(3), history=[], facts={})
    html = (tmp_path / "r.html").read_text()
    body = html.split('<table class="confusion">')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [[int(n) for n in re.findall(r">(\d+)</td>", row)] for row in body.split("</tr>")[:-1]]
    assert rows == [list(row) for row in evaluation(3).confusion]


def test_it_asks_for_nothing_from_outside(tmp_path):
    write_report(
        tmp_path / "r.html", title="t", evaluation=evaluation(30), history=history(3), facts={}, pictures=picture
    )
    html = (tmp_path / "r.html").read_text()
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    page = read(tmp_path / "r.html")
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    sources = [
        value or "" for _, attributes in page.tags for key, value in attributes.items() if key in {"src", "href"}
    ]
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in page.tags)


@pytest.mark.parametrize("k", [3, 25])
def test_hostile_text_stays_text(tmp_path, k):
    judged = evaluation(k, names=[HOSTILE + str(i) for i in range(k)])
    mistakes = [SimpleNamespace(**{**vars(m), "id": HOSTILE}) for m in judged.worst]
    judged = Evaluation(**{**vars(judged), "worst": tuple(mistakes)})  # type: ignore[arg-type]

    def gone(index: int) -> np.ndarray:
        raise ImageError(HOSTILE, "gone")

    arguments = {"title": HOSTILE, "history": history(2), "facts": {HOSTILE: HOSTILE, "x": {HOSTILE: [HOSTILE]}}}
    for pictures in (picture, gone):
        write_report(
            tmp_path / "r.html",
            evaluation=judged,
            pictures=pictures,
            unreadable=[Unreadable(HOSTILE, HOSTILE)],
            **arguments,
        )
        page = read(tmp_path / "r.html")
        assert "script" not in {tag for tag, _ in page.tags}
        assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
        assert page.text.count(HOSTILE) > 10


def test_names_that_are_no_characters_and_control_characters_are_shown_as_such(tmp_path):
    judged = evaluation(2, names=["caf\udce9", "汇聚\x1b\n"])
    write_report(tmp_path / "r.html", title="a\x00b", evaluation=judged, history=[], facts={})
    text = (tmp_path / "r.html").read_bytes().decode("utf-8")
    assert "caf\N{REPLACEMENT CHARACTER}" in text
    assert "汇聚\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}" in text
    assert "\x00" not in text


def test_pictures_have_alternatives_and_tables_have_headers(tmp_path):
    write_report(
        tmp_path / "r.html", title="t", evaluation=evaluation(30), history=history(1), facts={}, pictures=picture
    )
    page = read(tmp_path / "r.html")
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    assert all(attributes.get("scope") in {"row", "col"} for tag, attributes in page.tags if tag == "th")
    assert next(attributes for tag, attributes in page.tags if tag == "html")["lang"] == "en"


def test_the_same_arguments_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(
            tmp_path / name, title="t", evaluation=evaluation(30), history=history(9), facts={}, pictures=picture
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_twenty_classes_are_numbers_and_twenty_one_a_picture(tmp_path):
    for k, table in ((20, True), (21, False)):
        write_report(tmp_path / "r.html", title="t", evaluation=evaluation(k), history=[], facts={})
        html = (tmp_path / "r.html").read_text()
        assert ('<table class="confusion">' in html) is table
        assert ("data:image/png" in html) is not table


@pytest.mark.parametrize(
    "rows",
    [
        [],
        history(1),
        [{"epoch": 1}],
        [{"epoch": 1, "train_loss": None, "lr": 0.0}, {"epoch": 2, "train_loss": math.nan, "lr": 0.0}],
        [{"epoch": 1, "train_loss": 3.0, "val_loss": None}, {"epoch": 2, "train_loss": math.inf, "val_loss": 0.0}],
        [{"epoch": e, "train_loss": -1.0, "train_accuracy": 1.0, "lr": 1e-9} for e in (7, 8)],
        history(1000),
    ],
)
def test_histories_with_gaps_are_drawn(tmp_path, rows):
    write_report(tmp_path / "r.html", title="t", evaluation=evaluation(), history=rows, facts={})
    page = read(tmp_path / "r.html")
    assert ("Training values are means" in page.text) is (rows not in ([], [{"epoch": 1}]))
    assert "nan" not in (tmp_path / "r.html").read_text().lower().split("<main>")[1]


def test_perfection_has_no_mistakes_and_one_reliability_diagram(tmp_path):
    perfect = judge(np.eye(3), [0, 1, 2], ClassMap(["a", "b", "c"]), list("xyz"))
    write_report(tmp_path / "r.html", title="t", evaluation=perfect, history=[], facts={}, pictures=picture)
    page = read(tmp_path / "r.html")
    assert "None: every picture was predicted rightly." in page.text
    assert "Most often confused" not in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 1
    assert "Files left out none" in page.text


def test_a_picture_that_has_gone_is_said_and_the_report_is_written(tmp_path):
    def gone(index: int) -> np.ndarray:
        raise ImageError("a.png", "the file cannot be read (No such file or directory)")

    write_report(tmp_path / "r.html", title="t", evaluation=evaluation(), history=[], facts={}, pictures=gone)
    page = read(tmp_path / "r.html")
    assert "the picture cannot be shown: a.png: the file cannot be read (No such file or directory)" in page.text


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StriateError, match=r"r\.html could not be written: "):
        write_report(tmp_path / "file" / "r.html", title="t", evaluation=evaluation(), history=[], facts={})


def decoded(uri: str) -> Image.Image:
    kind, _, data = uri.partition(";base64,")
    assert kind in {"data:image/png", "data:image/jpeg"}
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("shape", [(1, 8, 6), (3, 8, 6), (1, 64, 64)])
def test_small_thumbnails_are_exact(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shown = np.asarray(decoded(thumbnail(picture[:, ::-1])))
    assert np.array_equal(
        shown if shape[0] == 1 else shown.transpose(2, 0, 1), picture[:, ::-1] if shape[0] == 3 else picture[0, ::-1]
    )


def test_large_thumbnails_are_shrunk_with_their_aspect_ratio():
    image = decoded(thumbnail(np.full((3, 600, 300), 90, np.uint8)))
    assert image.size == (80, 160)
    assert abs(int(np.asarray(image).mean()) - 90) <= 1


def test_the_confusion_picture_has_the_truth_in_rows():
    confusion = np.diag(np.full(30, 10))
    confusion[2, 5] = 10
    image = np.asarray(decoded(confusion_picture(confusion)))
    scale = len(image) // 30
    cell = image[::scale, ::scale].astype(int)
    assert cell.shape == (30, 30, 3)
    assert cell[0, 0, 1] > cell[0, 0, 0]  # right is green
    assert cell[2, 5, 0] > cell[2, 5, 1] + 50  # wrong is red
    assert cell[5, 2].tolist() == [255, 255, 255]


def path_points(svg: str, style: str) -> list[tuple[float, float]]:
    (data,) = re.findall(rf'<path class="{style}" d="M([^"]+)"', svg)
    return [tuple(map(float, point.split())) for point in data.split("L")]  # type: ignore[misc]


def test_lines_are_drawn_to_scale():
    svg = line_chart("t", [Series("a", "train", [1, 2, 3], [0.0, 5.0, 10.0])], x_label="epoch")
    (x0, y0), (x1, y1), (x2, y2) = path_points(svg, "line train")
    assert (x1 - x0, y0 - y1) == pytest.approx((x2 - x1, y1 - y2), abs=0.11)
    assert y0 > y1 > y2  # larger values are higher up
    ticks = {float(t): float(y) for y, t in re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)<', svg)}
    assert ticks[10.0] - 4 == pytest.approx(y2, abs=0.11)
    assert ticks[0.0] - 4 == pytest.approx(y0, abs=0.11)


def test_logarithmic_lines_are_drawn_to_scale():
    svg = line_chart("t", [Series("a", "val", [1, 2, 3], [100.0, 1.0, 0.01])], x_label="epoch", log=True)
    (_, y0), (_, y1), (_, y2) = path_points(svg, "line val")
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    assert "logarithmic" in svg
    assert "logarithmic" not in line_chart("t", [Series("a", "val", [1, 2], [2.0, 1.0])], x_label="epoch", log=True)
    assert "logarithmic" not in line_chart("t", [Series("a", "val", [1, 2], [99.0, 0.0])], x_label="epoch", log=True)


def test_a_gap_breaks_the_line():
    svg = line_chart("t", [Series("a", "val", [1, 2, 3, 4, 5], [1.0, 2.0, None, 2.0, 1.0])], x_label="epoch")
    assert svg.count('class="line val"') == 2
    assert svg.count("<circle") == 4


def test_the_reliability_diagram_tells_its_numbers():
    judged = judge(
        np.log([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.6, 0.4]]), [0, 1, 1, 1], ClassMap(["a", "b"]), list("wxyz")
    )
    svg = reliability_chart("Reliability", judged.uncalibrated)
    assert "confidence 0.900, accuracy 0.667, 3 of 4 samples" in svg
    assert svg.count('class="bar"') == 2
