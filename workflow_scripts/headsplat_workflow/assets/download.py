"""One file over HTTP from a server that is not trusted: redirects, size and speed are checked.

A part that broke off is only continued where the server says that it is still the same file, or
where the file's hash will tell.
"""

import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from headsplat.runtime.heartbeat import beat
from headsplat.runtime.storage import storage_error

LARGEST = 4 << 30  # bytes of a file whose size nobody states; the largest known has 0.6 GB
TIMEOUT = 60  # seconds without an answer, or in which too little comes
SLOWEST = 64 << 10  # bytes that must come in that time
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_STARTS = 2  # a part that is not continued is started over once


class Broken(Exception):
    """The download broke off; it may be continued."""


class Refused(Exception):
    """What the server does or sends is not accepted."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, never from https to http, never with an account."""

    max_redirections = 5
    inf_msg = "redirects without end: "

    def redirect_request(
        self, req: urllib.request.Request, fp: object, code: int, msg: str, headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        if req.data is not None:
            return None
        old, new = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if new != "https" and (old, new) != ("http", "http"):
            raise Refused(f"redirects to {address(newurl)}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req, fp, code, msg, headers):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """As urllib's, whose refusal of some schemes has many lines."""
        target = headers.get("location") or headers.get("uri") or ""
        scheme = urllib.parse.urlsplit(urllib.parse.urljoin(req.full_url, target)).scheme
        if scheme not in ("http", "https"):
            raise Refused(f"redirects to {scheme}:, which is neither http nor https")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def address(url: str) -> str:
    """An address for messages: without query, account and other secrets."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


class Download:
    """Bytes of one address, arriving in a file.

    Args:
        url: of the file.
        part: where the bytes arrive; one that is there is continued.
        form: body of a POST request, or None.
        size: bytes of the published file, or None.
        verified: whether a hash will tell a mixture of two files.
    """

    def __init__(
        self, url: str, part: Path, form: bytes | None, size: int | None, verified: bool
    ) -> None:
        self._url, self._part, self._form = url, part, form
        self._size, self._verified = size, verified
        # The server's tag of the file that the part belongs to.
        self._mark = part.with_name(part.name + ".mark")

    def run(self) -> None:
        """Get all of it.

        Raises:
            Broken: it broke off; `part` keeps what came.
            Refused: it is not accepted; nothing is kept.
            urllib.error.HTTPError: the server's refusal.
            UserError: the disk refuses.
        """
        try:
            for _ in range(_STARTS):
                if self._get():
                    self._mark.unlink(missing_ok=True)
                    return
                self.forget()
            raise Refused("sends a part that was not asked for")
        except Refused:
            self.forget()
            raise

    def forget(self) -> None:
        """Remove what came so far."""
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)

    def _get(self) -> bool:
        """One request; False if the part is to be started over."""
        have = self._part.stat().st_size if self._part.exists() else 0
        mark = self._mark.read_text() if have and self._mark.exists() else None
        if have and mark is None and not self._verified:
            return False
        try:
            answer = self._answer(have, mark)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not have:
                raise
            return False
        with answer:
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Refused("sends it compressed, which was not asked for")
            total = self._length(answer)
            if answer.status == 206:
                found = _RANGE.fullmatch(answer.headers.get("Content-Range") or "")
                if not have or found is None or int(found[1]) != have:
                    return False
                if mark is not None and _mark_of(answer) not in (None, mark):
                    return False
                total = int(found[3])
            else:
                have = 0
                self._note(answer)
            if self._size is not None and total not in (None, self._size):
                raise Refused(f"announces {total} bytes, the published file has {self._size}")
            try:
                with open(self._part, "ab" if have else "wb") as target:
                    self._receive(answer, target, have, total)
            except OSError as error:
                refused = storage_error(error, self._part)
                raise refused or Broken(str(error)) from error
        return True

    def _answer(self, have: int, mark: str | None) -> HTTPResponse:
        request = urllib.request.Request(self._url, data=self._form)
        request.add_header("User-Agent", "headsplat")
        request.add_header("Accept-Encoding", "identity")
        if have:
            request.add_header("Range", f"bytes={have}-")
            if mark is not None:
                request.add_header("If-Range", mark)
        opener = urllib.request.build_opener(_Redirects)
        came: list[HTTPResponse | BaseException] = []

        def ask() -> None:
            try:
                came.append(opener.open(request, timeout=TIMEOUT))
            except BaseException as error:
                came.append(error)

        # A server may send its headers so slowly that no single wait takes long.
        asking = Thread(target=ask, daemon=True)
        asking.start()
        asking.join(2 * TIMEOUT)
        if not came:
            raise Broken(f"no answer in {2 * TIMEOUT} s")
        if not isinstance(came[0], BaseException):
            return came[0]
        if isinstance(came[0], urllib.error.HTTPError | Refused):
            raise came[0]
        if isinstance(came[0], HTTPException | OSError | ValueError):
            raise Broken(str(came[0])) from came[0]
        raise came[0]

    def _length(self, answer: HTTPResponse) -> int | None:
        announced = answer.headers.get("Content-Length")
        if announced is None:
            return None
        if not re.fullmatch(r"[0-9]{1,15}", announced):
            raise Refused("announces no number of bytes")
        return int(announced)

    def _note(self, answer: HTTPResponse) -> None:
        mark = _mark_of(answer)
        self._mark.unlink(missing_ok=True)
        if mark is not None:
            self._mark.write_text(mark)

    def _receive(
        self, answer: HTTPResponse, target: BinaryIO, have: int, total: int | None
    ) -> None:
        most = total if total is not None else self._size if self._size is not None else LARGEST
        if most > LARGEST:
            raise Refused(f"announces {most} bytes, more than any of these files has")
        since, came = time.monotonic(), 0
        while True:
            try:
                block = answer.read1(_BLOCK)
            except (HTTPException, OSError, ValueError) as error:
                raise Broken(str(error)) from error
            if not block:
                break
            have += len(block)
            if have > most:
                raise Refused(f"sends more than {most} bytes")
            target.write(block)
            beat(f"fetching {self._part.stem}")
            came += len(block)
            if time.monotonic() - since > TIMEOUT:
                if came < SLOWEST:
                    raise Broken(f"only {came} bytes in {TIMEOUT} s")
                since, came = time.monotonic(), 0
        wanted = self._size if self._size is not None else total
        if wanted is not None and have < wanted:
            raise Broken(f"{have} of {wanted} bytes came")


def _mark_of(answer: HTTPResponse) -> str | None:
    """The strong ETag, which stands for the file's exact content; dates are too coarse."""
    tag = answer.headers.get("ETag", "")
    return tag if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', tag) else None
