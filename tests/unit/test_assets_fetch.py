"""Fetching, against a server on this machine: verified, resumed, renamed; secrets stay secret."""

import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from headsplat.assets import fetch as fetch_module
from headsplat.assets.catalogue import CATALOGUE, Asset
from headsplat.assets.fetch import fetch, fetch_missing
from headsplat.assets.needs import Need
from headsplat.errors import UserError

CONTENT = b"\x80\x02" + bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, str, str | None, bytes]] = []
    ranges = True

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
        elif wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
            else:
                self.answer(CONTENT[start:], 206)
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

    def answer(self, data: bytes, status: int = 200, announced: int | None = None):
        self.send_response(status)
        self.send_header("Content-Length", str(announced or len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[str]:
    Handler.seen, Handler.ranges = [], True
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
