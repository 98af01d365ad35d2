"""Downloads from a real server on this machine: resuming, mirrors, checksums, and what is said when nothing works."""

import contextlib
import fcntl
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from striate.data import RemoteFile
from striate.data._catalog import KNOWN, KnownSet
from striate.data._download import fetch, locate
from striate.errors import InputError, StriateError

CONTENT = np.random.default_rng(0).bytes(300_000)
FILE = RemoteFile("set.gz", len(CONTENT), hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest())
PART = ".set.gz.part"


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the first part of the path says how badly."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.requests.append((kind, asked))
        if kind == "missing":
            self.send_error(404, "Not Found")
            return
        content = {"wrong": b"x" * len(CONTENT), "long": CONTENT + b"more"}.get(kind, CONTENT)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and kind != "norange" else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if kind == "encoded":
            self.send_header("Content-Encoding", "gzip")
        if kind != "unsaid":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = {"cut": start + 100_000, "unsaid": start + 100_000, "dead": start + 10}.get(kind, len(content))
        if kind == "dead" and start:
            stop = start
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def mirror(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.requests.clear()
    return lambda kind: f"http://127.0.0.1:{server.server_address[1]}/{kind}/"


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_downloads_once(mirror, server, tmp_path):
    told = []
    folder = tmp_path / "new" / "set"
    path = fetch(FILE, [mirror("good")], folder, progress=lambda *step: told.append(step))
    assert path == folder / "set.gz"
    assert path.read_bytes() == CONTENT
    assert leftovers(folder) == ["set.gz"]
    assert told[-1] == (len(CONTENT), len(CONTENT), "set.gz")
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert fetch(FILE, [mirror("good")], folder) == path
    assert server.requests == [("good", None)]


def test_goes_on_to_the_next_mirror(mirror, server, tmp_path):
    path = fetch(FILE, [mirror("missing"), mirror("wrong"), mirror("long"), mirror("good")], tmp_path)
    assert path.read_bytes() == CONTENT
    # nothing of a mirror that sent the wrong content is kept
    assert server.requests == [("missing", None), ("wrong", None), ("long", None), ("good", None)]


@pytest.mark.parametrize("kind", ["cut", "unsaid"])
def test_a_transfer_that_breaks_off_is_resumed_where_it_stopped(kind, mirror, server, tmp_path):
    path = fetch(FILE, [mirror(kind)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [(kind, None), (kind, "bytes=100000-"), (kind, "bytes=200000-")]


def test_the_next_call_resumes_what_an_earlier_one_left(mirror, server, tmp_path):
    with pytest.raises(StriateError):
        fetch(FILE, [mirror("dead")], tmp_path)
    assert (tmp_path / PART).read_bytes() == CONTENT[:10]
    server.requests.clear()
    told = []
    assert fetch(FILE, [mirror("good")], tmp_path, progress=lambda *step: told.append(step)).read_bytes() == CONTENT
    assert server.requests == [("good", "bytes=10-")]
    assert told[0][0] > 10
    assert leftovers(tmp_path) == ["set.gz"]


def test_a_server_that_ignores_the_range_starts_again(mirror, server, tmp_path):
    (tmp_path / PART).write_bytes(CONTENT[:1000])
    assert fetch(FILE, [mirror("norange")], tmp_path).read_bytes() == CONTENT
    assert server.requests == [("norange", "bytes=1000-")]


@pytest.mark.parametrize("old", [b"rubbish", b"x" * (len(CONTENT) + 5), b"x" * len(CONTENT)])
def test_a_wrong_part_from_earlier_is_thrown_away(old, mirror, tmp_path):
    (tmp_path / PART).write_bytes(old)
    assert fetch(FILE, [mirror("good")], tmp_path).read_bytes() == CONTENT


def test_a_whole_part_needs_no_network(tmp_path):
    (tmp_path / PART).write_bytes(CONTENT)
    assert fetch(FILE, ["http://127.0.0.1:1/"], tmp_path).read_bytes() == CONTENT


def test_a_broken_file_under_the_final_name_is_replaced(mirror, tmp_path):
    (tmp_path / "set.gz").write_bytes(b"short")
    assert fetch(FILE, [mirror("good")], tmp_path).read_bytes() == CONTENT


def test_content_is_stored_as_sent_even_if_called_encoded(mirror, tmp_path):
    assert fetch(FILE, [mirror("encoded")], tmp_path).read_bytes() == CONTENT


def test_two_at_once_fetch_once(mirror, server, tmp_path):
    with contextlib.ExitStack() as stack:
        paths = []
        threads = [
            threading.Thread(target=lambda: paths.append(fetch(FILE, [mirror("good")], tmp_path))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
    assert paths == [tmp_path / "set.gz"] * 4
    assert server.requests == [("good", None)]
    assert leftovers(tmp_path) == ["set.gz"]


def test_a_part_that_went_away_while_waiting_for_it(mirror, tmp_path):
    with (tmp_path / PART).open("a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=fetch, args=(FILE, [mirror("good")], tmp_path))
        thread.start()
        thread.join(0.1)  # time to begin waiting
        (tmp_path / PART).unlink()
    thread.join()
    assert (tmp_path / "set.gz").read_bytes() == CONTENT


def test_without_a_network_it_says_where_to_put_the_file(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(StriateError) as caught:
            fetch(FILE, [address], tmp_path / "cache")
    assert str(caught.value) == (
        f"set.gz could not be downloaded ({address}: no connection): check the network and try again, or put the file "
        f"into {tmp_path / 'cache'} by hand"
    )
    assert leftovers(tmp_path / "cache") == []


def test_every_mirror_has_its_reason(mirror, tmp_path):
    with pytest.raises(StriateError) as caught:
        fetch(FILE, [mirror("missing"), mirror("wrong"), mirror("long"), mirror("dead")], tmp_path)
    message = str(caught.value)
    assert f"{mirror('missing')}: HTTP status 404 Not Found; " in message
    assert f"{mirror('wrong')}: not the published content (SHA-256 " in message
    assert f"{mirror('long')}: it sends more than the published 300,000 bytes; " in message
    assert f"{mirror('dead')}: the transfer failed: " in message


def test_a_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        StriateError, match=r"set.gz cannot be written \(Not a directory\): free space or allow writing"
    ):
        fetch(FILE, [], tmp_path / "file" / "cache")


def test_the_cache_is_used_only_without_a_data_folder(mirror, tmp_path, monkeypatch):
    known = KnownSet("toy", "", "", ("a",), (FILE,), (mirror("good"),), ("toy",))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    assert locate(known) == [tmp_path / "cache" / "striate" / "toy" / "set.gz"]
    with pytest.raises(InputError) as caught:
        locate(known, tmp_path)
    assert str(caught.value) == (
        f"toy: set.gz is not in {tmp_path}, nor in a folder toy there: put it there, or leave the data folder out to "
        "have it downloaded"
    )
    with pytest.raises(InputError, match="gone: expected an existing folder with the files of toy"):
        locate(known, tmp_path / "gone")


@pytest.mark.parametrize(
    "place",
    [
        "train-images-idx3-ubyte.gz",
        "train-images-idx3-ubyte",
        "train-images.idx3-ubyte",
        "mnist/train-images-idx3-ubyte",
        "MNIST/raw/train-images-idx3-ubyte",
    ],
)
def test_a_data_folder_may_hold_files_in_several_ways(place, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    known = KNOWN["mnist"]
    images = KnownSet("mnist", "", "", known.classes, known.files[:1], (), known.folders)
    assert locate(images, tmp_path) == [path]


@pytest.mark.parametrize("known", KNOWN.values(), ids=lambda known: known.name)
def test_the_catalog_is_complete(known):
    assert known.title
    assert known.licence
    assert len(set(known.classes)) == len(known.classes) == 10
    assert not known.files or len(known.mirrors) >= 2
    for file in known.files:
        assert (len(bytes.fromhex(file.md5)), len(bytes.fromhex(file.sha256))) == (16, 32)
        assert file.size > 0
    assert all(address.startswith("http") and address.endswith("/") for address in known.mirrors)
