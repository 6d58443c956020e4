"""Fetching of assets from their public addresses: resumed, verified, never half under its name."""

import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPMessage
from pathlib import Path

from headsplat.assets.catalogue import CATALOGUE
from headsplat.assets.needs import Need
from headsplat.assets.verify import glance, sha256
from headsplat.cli import log
from headsplat.errors import UserError
from headsplat.heartbeat import beat

USER, PASSWORD = "HEADSPLAT_FLAME_USER", "HEADSPLAT_FLAME_PASSWORD"
_BLOCK = 1 << 20
_TIMEOUT = 60


class _KeepAccount(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never takes a form with an account to another address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: object, code: int, msg: str, headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        if req.data is not None:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, out: Path, published: str | None = None, account: bool = False) -> None:
    """Download one file to `out`; a broken download goes on where it stopped.

    Args:
        url: of the file.
        out: where to put it; bytes arrive in `<out>.part` until all are there and verified.
        published: SHA-256 of the file, or its beginning.
        account: the server wants the user's FLAME account, from the environment.

    Raises:
        UserError: the server cannot be reached, refuses, sends a web page instead of the file, or
            the file is not the published one.
    """
    form = _form(out) if account else None
    part = out.with_name(out.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(url, part, form)
    except urllib.error.HTTPError as error:
        raise UserError(f"{out}: {_address(url)} answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise UserError(
            f"{out}: {_address(url)} broke off ({error}); run again to go on where it stopped"
        ) from None
    named = part.rename(out.with_name(f".{out.name}.check{out.suffix}"))
    try:
        trouble = glance(named)
        if trouble is not None:
            hint = f"; check {USER} and {PASSWORD}" if account else ""
            raise UserError(f"{out}: what {_address(url)} sent {trouble}{hint}")
        digest = sha256(named)
        if published is not None and not digest.startswith(published):
            raise UserError(
                f"{out}: {_address(url)} sent a file with SHA-256 {digest[:12]}..., the published "
                f"one has {published[:12]}...; it was thrown away"
            )
        os.replace(named, out)
    finally:
        named.unlink(missing_ok=True)
    log.info("%s: %d bytes, SHA-256 %s", out, out.stat().st_size, digest)


def _download(url: str, part: Path, form: bytes | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, data=form)
    request.add_header("User-Agent", "headsplat")
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_KeepAccount)
    try:
        answer = opener.open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # The part is whole already, or belongs to another file: start over to be sure.
        part.unlink()
        _download(url, part, form)
        return
    with answer, open(part, "ab" if answer.status == 206 else "wb") as target:
        received = 0
        while block := answer.read(_BLOCK):
            target.write(block)
            received += len(block)
            beat(f"fetching {part.stem}")
        announced = answer.headers.get("Content-Length")
        if announced is not None and received < int(announced):
            raise OSError(f"{received} of {announced} bytes came")


def _form(out: Path) -> bytes:
    """The account as the body of a request; it is never part of an address, log or message."""
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if not user or not password:
        raise UserError(
            f"{out}: needs your own FLAME account: register at https://flame.is.tue.mpg.de, accept "
            f"its licence, and set {USER} and {PASSWORD}"
        )
    return urllib.parse.urlencode({"username": user, "password": password}).encode()


def _address(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def fetch_missing(needs: Sequence[Need]) -> None:
    """Fetch what is required and missing, where it has an address of its own.

    Raises:
        UserError: one line for each that could not be fetched, or that only a person can get.
    """
    failures = []
    for need in needs:
        if need.found or not need.required:
            continue
        asset = CATALOGUE[need.key]
        try:
            name, url = _choose(need)
            log.info("%s: %s, %s", need.path.parent / name, asset.what, asset.licence)
            fetch(url, need.path.parent / name, asset.hashes.get(name), asset.account)
        except UserError as error:
            failures.append(str(error))
    if failures:
        raise UserError("\nerror: ".join(failures))


def _choose(need: Need) -> tuple[str, str]:
    """Name and address for an asset: the configuration's name where it has one, else the first."""
    asset = CATALOGUE[need.key]
    if need.path.name in asset.urls:
        return need.path.name, asset.urls[need.path.name]
    if need.path.name != asset.names[0] or not asset.urls:
        raise UserError(f"{need.path}: has no address of its own; {need.remedy}")
    return next(iter(asset.urls.items()))
