"""The doctor: each thing that can be wrong is planted, found and named; nothing else is, and nothing is changed."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from test_folder import without_privileges

from messes import bomb, jpeg, photo, write_clean, write_mess
from striate.data import DataOptions, Preprocessing, open_data, write_exclusion
from striate.data._exclusion import read_exclusion
from striate.data.doctor import KINDS, Examination, as_text, examine, warning, write_html
from striate.data.doctor._survey import survey
from striate.data.sources.layout import list_parts
from striate.errors import InputError

MESS = [
    *("truncated", "no-end", "empty", "type", "size", "damaged", "values", "access", "wrong-ending", "constant"),
    *("small", "shape", "turned", "profile", "animated", "modes", "tiny-class", "empty-class", "class-spelling"),
    *("duplicate", "two-labels", "leak", "near-duplicate", "near-two-labels", "near-leak", "unknown-class"),
    *("missing-class", "link-loop", "hidden-folder", "hidden-file", "stray", "special", "layout"),
]
NOT_IN_THE_MESS = {"closed-folder", "imbalance", "likely-label"}  # tested below and with the command


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    """A folder with one of everything, what is wrong with it, and its examination."""
    root = tmp_path_factory.mktemp("mess")
    planted = write_mess(root)
    before = _state(root)
    examination = examine(root, threads=2)
    assert _state(root) == before, "data are never changed"
    return root, planted, examination


def _state(root):
    """Everything that a program could change: names, kinds, times, sizes, permissions."""
    return {
        (str(path), s.st_mode, s.st_size, s.st_mtime_ns, s.st_ino)
        for path in [root, *root.rglob("*")]
        for s in [path.lstat()]
    }


def _paths(examination, kind):
    return {path for finding in examination.of(kind) for path in finding.paths}


def test_every_kind_is_tested():
    assert set(MESS) | NOT_IN_THE_MESS == set(KINDS)


@pytest.mark.parametrize("kind", MESS)
def test_what_is_planted_is_found_and_named(kind, mess):
    _, planted, examination = mess
    assert examination.of(kind)
    assert _paths(examination, kind) == planted[kind]
    for finding in examination.of(kind):
        assert finding.severity == KINDS[kind].severity
        assert finding.sentence.endswith(KINDS[kind].advice)
        assert "\n" not in finding.sentence


def test_findings_say_what_was_found(mess):
    _, _, examination = mess

    def words(kind):
        return [finding.found for finding in examination.of(kind)]

    assert words("type") == [
        "train/cat/notes.txt: not a JPEG, PNG, WebP, BMP, GIF, TIFF or PPM picture, but text",
        "train/cat/page.jpg: not a JPEG, PNG, WebP, BMP, GIF, TIFF or PPM picture, but HTML",
    ]
    assert words("wrong-ending") == [
        "train/cat/photo: a JPEG, its ending says nothing of that",
        "train/cat/png.jpg: a PNG, its ending says JPEG",
    ]
    assert words("tiny-class") == ["class 'bird' has 3 pictures to train on"]
    assert words("leak") == ["'train/cat/2.jpg', 'test/cat/known.jpg' are the same file in train and test"]
    assert words("two-labels") == [
        "'train/cat/1.jpg', 'train/dog/cat.jpg' are the same file under the labels 'cat', 'dog'"
    ]
    assert words("small") == ["train/cat/tiny.png: 12 x 10 pixels, the shorter side is usually 64"]
    assert words("unknown-class") == ["test has 'cow', train has not"]
    assert words("turned") == ["1 of 106 pictures"]
    assert words("access") == ["train/cat/link.jpg: the file cannot be read (No such file or directory)"]
    assert words("size") == ["train/cat/bomb.png: the picture has more than 89,478,485 pixels"]


def test_what_to_leave_out(mess):
    _, _, examination = mess
    assert {path for path, _ in examination.left_out()} == {
        *(f"train/cat/{name}" for name in ("cut.jpg", "cut.png", "zeros.jpg", "empty.jpg", "page.jpg", "notes.txt")),
        *(f"train/cat/{name}" for name in ("bomb.png", "damaged.png", "values.tif", "link.jpg")),
        "train/cat/copy.jpg",  # the first of the two is kept
        "train/cat/1.jpg",  # which label is right is for a person to say
        "train/dog/cat.jpg",
        "train/cat/2.jpg",  # what measures is kept
        "train/cat/5.jpg",
    }


def test_training_opens_what_is_left(mess, tmp_path):
    """Once the folders are put right, the list of files to leave out is just what training needs."""
    _, _, examination = mess
    root = tmp_path / "mess"
    write_mess(root)
    (root / "Validation").rmdir()
    (root / "train" / "fish").rmdir()
    (root / "test" / "cow" / "0.jpg").unlink()
    (root / "test" / "cow").rmdir()
    options = DataOptions(channels=3, size=(8, 8))
    with pytest.raises(InputError, match="10 of 115 files cannot be read as pictures"):
        open_data(root, options, seed=0)
    write_exclusion(tmp_path / "list.txt", examination.left_out())
    kept = open_data(root, DataOptions(channels=3, size=(8, 8), exclude=read_exclusion(tmp_path / "list.txt")), seed=0)
    assert len(kept.excluded) == 15
    assert warning(kept) == f"{root}: val and test lack classes; 1 of 4 classes have under 10 pictures to train on " + (
        f"(see: striate doctor {root})"
    )


def test_a_clean_set_has_no_finding(tmp_path):
    examination = examine(write_clean(tmp_path), progress=None)
    assert examination.findings == ()
    assert examination.counts == {part: {"cat": 10, "dog": 10} for part in ("train", "val", "test")}
    assert as_text(examination).endswith("nothing found that would spoil a training")


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("train",), ("",)])
def test_it_sees_the_files_that_training_sees(parts, tmp_path):
    write_clean(tmp_path, per_class=3, parts=parts)
    first = tmp_path / parts[0] / "cat"
    (first / "more" / "deep").mkdir(parents=True)
    for name in ("more/a.jpg", "more/deep/b.png", ".hidden.jpg", "notes.txt", "Thumbs.db"):
        (first / name).write_bytes(b"x")
    (first / "outside").symlink_to(tmp_path / parts[0] / "dog", target_is_directory=True)
    expected = [
        (file, part, label)
        for part, listing in list_parts(tmp_path).items()
        for label, files in listing.files.items()
        for file in files
    ]
    assert [tuple(file) for file in survey(tmp_path).files] == expected
    assert len(expected) == 6 * len(parts) + 6


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads, mess):
    root, _, examination = mess
    assert examine(root, threads=threads).to_json() == examination.to_json()


def test_progress_is_told(tmp_path):
    told = []
    examine(write_clean(tmp_path, per_class=2), progress=lambda *step: told.append(step))
    assert told == [(k, 12, "examining pictures") for k in range(1, 13)]


def test_a_bomb_is_not_decoded(tmp_path, monkeypatch, recwarn):
    write_clean(tmp_path, per_class=1)
    (tmp_path / "train" / "cat" / "bomb.png").write_bytes(bomb())
    (tmp_path / "train" / "cat" / "worse.png").write_bytes(bomb(10_000, 10_000))  # below Pillow's own error
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self.size) or load(self))
    assert len(examine(tmp_path).of("size")) == 2
    assert set(decoded) == {(80, 64)}
    assert not recwarn.list, "what Pillow warns of is in the finding"


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp", "gif", "tiff", "bmp", "ppm"])
def test_a_cut_is_seen_wherever_it_is(kind, tmp_path):
    write_clean(tmp_path, per_class=1, parts=("",))
    whole = tmp_path / f"whole.{kind}"
    picture = photo(5, (300, 200))
    picture.save(
        whole, *(["JPEG"] if kind == "progressive" else []), **{"progressive": True} if kind[0:2] == "pr" else {}
    )
    data = whole.read_bytes()
    for k, share in enumerate((0.05, 0.3, 0.6, 0.9, 0.97)):
        (tmp_path / "cat" / f"{k}.{whole.suffix}").write_bytes(data[: int(share * len(data))])
    examination = examine(tmp_path, preprocessing=Preprocessing(3, (16, 16)))  # a JPEG is decoded at a quarter
    bad = _paths(examination, "truncated") | _paths(examination, "damaged") | _paths(examination, "type")
    assert len(bad) == 5, as_text(examination, everything=True)


def test_statistics_are_those_of_the_pictures_as_training_decodes_them(tmp_path):
    write_clean(tmp_path, per_class=5)
    preprocessing = Preprocessing(3, (24, 20), "crop")
    found = examine(tmp_path, preprocessing=preprocessing).statistics
    options = DataOptions(channels=3, size=(24, 20), fit="crop")
    images = open_data(tmp_path, options, seed=0).splits["train"].load(range(10)) / 255
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, images.std(axis=(0, 2, 3)), rtol=1e-12)
    means, deviations = (",".join(f"{value:.4f}" for value in values) for values in (found.mean, found.std))
    assert found.settings == f"--set data.channels=3 --set data.mean={means} --set data.std={deviations}"
    assert (found.smallest, found.median, found.largest) == ((80, 64),) * 3
    assert found.formats == {"JPEG": 30}


def test_grey_pictures_have_the_statistics_of_one_channel(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for k in range(3):
            photo(k + 10 * ord(label)).convert("L").save(tmp_path / label / f"{k}.png")
    found = examine(tmp_path, preprocessing=Preprocessing(3, (16, 16))).statistics
    images = open_data(tmp_path, DataOptions(channels=1, size=(16, 16)), seed=0)
    values = np.concatenate([split.load(range(len(split))) for split in images.splits.values()]) / 255
    assert found.channels == 1
    np.testing.assert_allclose(found.mean, [values.mean()], rtol=1e-12)
    np.testing.assert_allclose(found.std, [values.std()], rtol=1e-12)


def test_copies_without_split_folders(tmp_path):
    """Copies to the byte stay on one side when splits are set aside; what is nearly the same may not."""
    write_clean(tmp_path, parts=("",))
    (tmp_path / "cat" / "z.jpg").write_bytes((tmp_path / "cat" / "0.jpg").read_bytes())
    large = photo(101, (160, 128))
    large.save(tmp_path / "dog" / "large.png")
    examination = examine(tmp_path)
    assert [finding.leave_out for finding in examination.of("duplicate")] == [("cat/z.jpg",)]
    (near,) = examination.of("near-duplicate")
    assert near.paths == ("dog/1.jpg", "dog/large.png")
    assert near.leave_out == ("dog/1.jpg",), "the largest is kept"
    assert len(examination.findings) == 2


def test_an_imbalance(tmp_path):
    write_clean(tmp_path, per_class=1, parts=("",))
    for k in range(120):
        (tmp_path / "cat" / f"more {k}.jpg").write_bytes(jpeg(photo(5000 + k, (40, 30))))
    for k in range(10):
        (tmp_path / "dog" / f"more {k}.jpg").write_bytes(jpeg(photo(6000 + k, (40, 30))))
    examination = examine(tmp_path)
    assert [finding.found for finding in examination.findings] == ["121 pictures of 'cat' and 11 of 'dog'"]


def test_accents_in_two_spellings_are_one_class(tmp_path):
    for k, name in enumerate(("caf\u00e9", "cafe\u0301", "bar")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{k}.jpg").write_bytes(jpeg(photo(k)))
    examination = examine(tmp_path)
    (finding,) = examination.of("class-spelling")
    assert len(finding.paths) == 2
    assert examination.counts == {"": {"bar": 1, "caf\u00e9": 2}}


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ((), "expected a folder of images for each class, found nothing"),
        (("a",), "expected at least two class folders, found only 'a'"),
        (("Train/a", "Train/b"), "the folder 'Train' looks like the split 'train': name it so"),
        (("Test/a", "Test/b"), "there is no folder 'train': the classes come from there"),
        (("train/a", "train/b", "cow"), "the folder 'cow' stands beside the splits: move it away, or into them"),
        (("train",), "train: expected a folder of images for each class, found nothing"),
    ],
)
def test_layouts_that_training_refuses(folders, words, tmp_path):
    for k, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        if folder != "train":
            (tmp_path / folder / "0.jpg").write_bytes(jpeg(photo(k)))
    with pytest.raises(InputError):
        open_data(tmp_path, DataOptions(channels=3, size=(8, 8)), seed=0)
    examination = examine(tmp_path)
    assert any(words in finding.found for finding in examination.of("layout")), examination.findings
    assert as_text(examination)


def test_what_may_not_be_read():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        write_clean(root, per_class=2, parts=("",))
        (root / "bird").mkdir()
        (root / "bird").chmod(0)
        (root / "fish").mkdir()
        (root / "fish" / "0.jpg").write_bytes(jpeg(photo(77)))
        (root / "fish").chmod(0o444)  # may be listed, but nothing in it opened
        (root / "cat" / "0.jpg").chmod(0)
        with without_privileges():
            examination = examine(root)
        (root / "bird").chmod(0o755)
        (root / "fish").chmod(0o755)
    assert _paths(examination, "closed-folder") >= {"bird"}
    assert "bird" not in _paths(examination, "empty-class"), "nobody knows"
    assert "cat/0.jpg" in _paths(examination, "access")
    assert "fish" in {path.split("/")[0] for finding in examination.findings for path in finding.paths}


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is a file: expected a folder of images"):
        examine(tmp_path / "file")
    with pytest.raises(InputError, match="none is not there: expected a folder of images"):
        examine(tmp_path / "none")
    (tmp_path / "scenes" / "images").mkdir(parents=True)
    (tmp_path / "scenes" / "masks").mkdir()
    with pytest.raises(InputError, match="scenes holds pictures with masks: expected a folder of pictures for each"):
        examine(tmp_path / "scenes")


def test_text_shows_the_first_few_or_all(mess):
    _, _, examination = mess
    short, whole = as_text(examination), as_text(examination, everything=True)
    assert "error: files that are no pictures (2)" in short
    assert short.splitlines()[-1] == whole.splitlines()[-1] == "15 errors, 18 warnings, 7 notes"
    many = examination.plus(examination.of("empty") * 5)
    assert "error: empty files (6)" in as_text(many)
    assert "  and 3 more (--all shows them)" in as_text(many)
    assert as_text(many, everything=True).count("empty.jpg: the file is empty") == 6


def test_findings_come_worst_first(mess):
    _, _, examination = mess
    severities = [finding.severity for finding in examination.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    extra = examination.of("empty")[0]
    assert examination.plus([extra]).findings.index(extra) < severities.index("warning")


def test_hostile_names_are_shown_harmlessly(tmp_path):
    write_clean(tmp_path, per_class=1, parts=("",))
    name = b"<script>\x1b[2J\xff\n.jpg"
    with open(os.path.join(os.fsencode(tmp_path), b"cat", name), "wb") as file:  # noqa: PTH118, PTH123 - not UTF-8
        file.write(jpeg(photo(55)))
    (tmp_path / "dog" / "<b>.jpg").write_bytes(b"")
    copy = Image.open(tmp_path / "cat" / "0.jpg").resize((40, 32))
    copy.save(tmp_path / "cat" / "<i>.png")
    examination = examine(tmp_path)
    assert "\x1b" not in as_text(examination, everything=True)
    write_html(examination, tmp_path.parent / "report.html")
    html = (tmp_path.parent / "report.html").read_text(encoding="utf-8")
    assert "<b>.jpg" not in html
    assert "&lt;b&gt;.jpg: the file is empty" in html
    assert html.count("<img") == 2


def test_the_report_is_one_file_with_the_pictures(mess, tmp_path):
    _, _, examination = mess
    write_html(examination, tmp_path / "a.html")
    write_html(examination, tmp_path / "b.html")
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == html
    assert "http:" not in html
    assert "https:" not in html
    for kind in examination.by_kind():
        assert f'<h2 id="{kind}">' in html
    assert 'alt="train/cat/copy.jpg"' in html
    assert "train/cat/bomb.png: the picture has more than" in html
    assert len(html) < 1_000_000


def test_what_is_quite_usual_is_no_finding(tmp_path):
    """An sRGB profile, one colour channel without content, usual other endings; a turned picture's size is as shown."""
    write_clean(tmp_path, parts=("",))
    profile = b"\0" * 100 + b"sRGB IEC61966-2.1"
    (tmp_path / "cat" / "a.JPEG").write_bytes(jpeg(photo(901), icc_profile=profile))
    no_blue = np.asarray(photo(902)).copy()
    no_blue[:, :, 2] = 7
    Image.fromarray(no_blue).save(tmp_path / "cat" / "b.tif")
    photo(903).save(tmp_path / "cat" / "c.PNG")
    (tmp_path / "cat" / "d.jfif").write_bytes(jpeg(photo(904)))
    assert examine(tmp_path).findings == ()
    turned = Image.Exif()
    turned[0x0112] = 8
    (tmp_path / "cat" / "e.jpg").write_bytes(jpeg(photo(905, (64, 80)), exif=turned))
    examination = examine(tmp_path)
    assert [finding.kind for finding in examination.findings] == ["turned"]
    assert examination.statistics.smallest == examination.statistics.largest == (80, 64)


def test_nothing_readable(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.jpg").write_bytes(b"")
    examination = examine(tmp_path)
    assert isinstance(examination, Examination)
    assert examination.statistics is None
    assert len(examination.of("empty")) == 2
    assert examination.to_json()["statistics"] is None
    write_html(examination, tmp_path / "report.html")
