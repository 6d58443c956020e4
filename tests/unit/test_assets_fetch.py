"""Fetching, against a server on this machine: verified, resumed, renamed; secrets stay secret."""

import gzip
import hashlib
import http.server
import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from headsplat_workflow.assets import download
from headsplat_workflow.assets import fetch as fetch_module
from headsplat_workflow.assets.catalogue import CATALOGUE, Asset
from headsplat_workflow.assets.download import Refused, _Redirects
from headsplat_workflow.assets.fetch import fetch, fetch_missing
from headsplat_workflow.assets.needs import Need

from headsplat.runtime.errors import UserError

CONTENT = b"\x80\x02" + bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, str, str | None, bytes]] = []
    ranges = True
    tag: str | None = None  # of the file, as the server has it now
    range_of = "bytes {start}-{end}/{total}"

    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.seen.append(("GET", self.path, wanted, b""))
        if self.path == "/page":
            self.answer(b"<!DOCTYPE html><title>sign in</title>")
        elif self.path == "/cut":
            self.answer(CONTENT[:100], announced=len(CONTENT))
        elif self.path == "/gone":
            self.send_error(404)
        elif self.path == "/endless":
            self.stream(iter(lambda: bytes(1 << 16), None))
        elif self.path == "/dripping":
            self.stream(time.sleep(0.1) or b"x" for _ in range(100))
        elif self.path == "/silent":
            time.sleep(3)
        elif self.path == "/headers":
            for _ in range(100):
                time.sleep(0.1)
                self.wfile.write(b"H")
        elif self.path == "/zipped":
            self.answer(gzip.compress(CONTENT), encoding="gzip")
        elif self.path == "/long":
            self.answer(CONTENT + b"more")
        elif self.path == "/nonsense":
            self.answer(CONTENT, announced="many")
        elif self.path.startswith(("/to?", "/circle")):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        elif wanted and self.ranges and self.headers.get("If-Range") in (None, self.tag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
            else:
                self.answer(CONTENT[start:], 206, start=start)
        else:
            self.answer(CONTENT)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(("POST", self.path, None, body))
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        elif parse_qs(body.decode()) == {"username": ["me@x"], "password": ["s&cret"]}:
            self.answer(CONTENT)
        else:
            self.answer(b"<html>wrong password</html>")

    def answer(self, data, status=200, announced=None, encoding=None, start=0):
        self.send_response(status)
        self.send_header("Content-Length", str(announced or len(data)))
        if self.tag:
            self.send_header("ETag", self.tag)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if status == 206 and self.range_of:
            total = len(CONTENT)
            shown = self.range_of.format(start=start, end=total - 1, total=total)
            self.send_header("Content-Range", shown)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, blocks):
        """Send what has no announced end, as long as somebody listens."""
        self.send_response(200)
        self.end_headers()
        try:
            for block in blocks:
                self.wfile.write(block)
        except OSError:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[str]:
    Handler.seen, Handler.ranges, Handler.tag = [], True, None
    Handler.range_of = "bytes {start}-{end}/{total}"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_verified_and_renamed(server, tmp_path):
    fetch(f"{server}/file", tmp_path / "sub/a.pth", DIGEST)
    assert (tmp_path / "sub/a.pth").read_bytes() == CONTENT
    assert leftovers(tmp_path / "sub") == {"a.pth"}


def test_another_file_than_the_published_one_is_thrown_away(server, tmp_path):
    with pytest.raises(UserError, match="published one has 0123456789ab") as caught:
        fetch(f"{server}/file", tmp_path / "a.pth", "0123456789abcdef")
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server, tmp_path, ranges):
    Handler.ranges = ranges
    with pytest.raises(UserError, match="broke off .*run again to go on"):
        fetch(f"{server}/cut", tmp_path / "a.pth", DIGEST)
    assert (tmp_path / "a.pth.part").stat().st_size == 100
    fetch(f"{server}/file", tmp_path / "a.pth", DIGEST)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert leftovers(tmp_path) == {"a.pth"}
    assert Handler.seen[-1][2] == "bytes=100-"


@pytest.mark.parametrize("sent", [None, "bytes 0-9/10", "bytes {start}-{end}/*", "10-20", ""])
def test_a_part_that_is_not_the_one_asked_for_is_started_over(server, tmp_path, sent):
    Handler.range_of = sent
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:100])
    fetch(f"{server}/file", tmp_path / "a.pth", DIGEST)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [request[2] for request in Handler.seen] == ["bytes=100-", None]
    assert leftovers(tmp_path) == {"a.pth"}


def test_a_file_that_changed_meanwhile_is_started_over(server, tmp_path):
    Handler.tag = '"one"'
    with pytest.raises(UserError, match="broke off"):
        fetch(f"{server}/cut", tmp_path / "a.pth")
    assert leftovers(tmp_path) == {"a.pth.part", "a.pth.part.mark"}
    (tmp_path / "a.pth.part").write_bytes(b"of the older file")
    Handler.tag = '"two"'
    fetch(f"{server}/file", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert leftovers(tmp_path) == {"a.pth"}


def test_the_same_file_goes_on_by_its_tag_alone(server, tmp_path):
    Handler.tag = '"one"'
    with pytest.raises(UserError, match="broke off"):
        fetch(f"{server}/cut", tmp_path / "a.pth")
    fetch(f"{server}/file", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert Handler.seen[-1][2] == "bytes=100-"


def test_a_part_that_nothing_vouches_for_is_started_over(server, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(b"of another file")
    fetch(f"{server}/file", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert Handler.seen[-1][2] is None


def test_a_wrong_beginning_is_found_out_by_the_hash(server, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(b"of another file")
    fetch(f"{server}/file", tmp_path / "a.pth", DIGEST)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/to?ftp://127.0.0.1/file", "redirects to ftp:, which is neither http nor https"),
        ("/to?file:///etc/passwd", "redirects to file:, which is neither http nor https"),
        ("/to?https://user:secret@127.0.0.1:9/file?key=secret", "broke off"),
        ("/circle", "answers 302 redirects without end: Found$"),
        ("/zipped", "sends it compressed"),
        ("/long", f"announces {len(CONTENT) + 4} bytes, the published file has {len(CONTENT)}"),
        ("/nonsense", "announces no number of bytes"),
        ("/endless", f"sends more than {len(CONTENT)} bytes"),
    ],
)
def test_what_is_no_plain_download_is_refused_in_one_line(server, tmp_path, path, words):
    with pytest.raises(UserError, match=words) as caught:
        fetch(server + path, tmp_path / "a.pth", DIGEST, size=len(CONTENT))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_less_security_is_not_followed():
    asked = urllib.request.Request("https://x/file")
    for target in ("http://x/file", "ftp://x/file"):
        with pytest.raises(Refused, match="is not https"):
            _Redirects().redirect_request(asked, None, 302, "Found", HTTPMessage(), target)
    followed = _Redirects().redirect_request(
        asked, None, 302, "Found", HTTPMessage(), "https://y/file"
    )
    assert followed.full_url == "https://y/file"


def test_a_body_without_end_is_bounded_where_no_size_is_known(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    with pytest.raises(UserError, match="sends more than 1048576 bytes"):
        fetch(f"{server}/endless", tmp_path / "a.pth")
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize(
    ("path", "words"),
    [("/dripping", "only . bytes in 0.3 s"), ("/headers", "no answer"), ("/silent", "timed out")],
)
def test_a_server_that_is_too_slow(server, tmp_path, monkeypatch, path, words):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    with pytest.raises(UserError, match=f"broke off .*{words}.*run again"):
        fetch(server + path, tmp_path / "a.pth")


def test_a_part_that_is_too_long_is_started_over(server, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"more")
    fetch(f"{server}/file", tmp_path / "a.pth", DIGEST)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "words"), [("/page", "sent is a web page"), ("/gone", "/gone answers 404")]
)
def test_a_page_or_an_error_is_no_model(server, tmp_path, path, words):
    with pytest.raises(UserError, match=words) as caught:
        fetch(server + path, tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="broke off"):
        fetch("http://127.0.0.1:9/file", tmp_path / "a.pth")


def test_the_account_comes_from_the_environment_and_goes_nowhere_else(
    server, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv(fetch_module.USER, raising=False)
    monkeypatch.delenv(fetch_module.PASSWORD, raising=False)
    with pytest.raises(UserError, match="needs your own FLAME account: register at https://flame"):
        fetch(f"{server}/flame", tmp_path / "a.pkl", account=True)
    assert Handler.seen == []
    monkeypatch.setenv(fetch_module.USER, "me@x")
    monkeypatch.setenv(fetch_module.PASSWORD, "wr0ng-secret")
    said = []
    with pytest.raises(UserError, match="web page .*; check HEADSPLAT_FLAME_USER") as caught:
        fetch(f"{server}/flame", tmp_path / "a.pkl", account=True)
    said.append(str(caught.value))
    with pytest.raises(UserError, match="answers 302") as caught:
        fetch(f"{server}/elsewhere", tmp_path / "a.pkl", account=True)
    said.append(str(caught.value))
    assert [request[:2] for request in Handler.seen] == [("POST", "/flame"), ("POST", "/elsewhere")]
    monkeypatch.setenv(fetch_module.PASSWORD, "s&cret")
    fetch(f"{server}/flame", tmp_path / "a.pkl", account=True)
    assert (tmp_path / "a.pkl").read_bytes() == CONTENT
    said.append(caplog.text)
    assert not any(secret in text for text in said for secret in ("secret", "cret", "me@x"))
    assert leftovers(tmp_path) == {"a.pkl"}


def test_what_is_required_and_missing_is_fetched(server, tmp_path, monkeypatch):
    public = Asset(
        "a model", ("a.pth", "b.pth"), "MIT", "https://x",
        urls={"a.pth": f"{server}/file", "b.pth": f"{server}/page"}, hashes={"a.pth": DIGEST},
    )  # fmt: skip
    private = Asset("a secret", ("c.pth",), "own", "https://y/c")
    monkeypatch.setitem(CATALOGUE, "rvm", public)
    monkeypatch.setitem(CATALOGUE, "mica", private)
    (tmp_path / "there.pth").write_bytes(b"\x80")
    needs = [
        Need("rvm", tmp_path / "a.pth", True),
        Need("rvm", tmp_path / "there.pth", True),
        Need("rvm", tmp_path / "b.pth", False),
        Need("mica", tmp_path / "c.pth", True),
        Need("rvm", tmp_path / "mine.pth", True),
    ]
    with pytest.raises(UserError) as caught:
        fetch_missing(needs)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "c.pth: has no address of its own; get it at https://y/c (own)" in lines[0]
    assert "mine.pth: has no address of its own" in lines[1]
    assert leftovers(tmp_path) == {"a.pth", "there.pth"}
