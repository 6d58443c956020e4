"""Fetching of assets from their public addresses: resumed, verified, never half under its name."""

import os
import urllib.error
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from headsplat_workflow.assets.catalogue import CATALOGUE
from headsplat_workflow.assets.download import Broken, Download, Refused, address
from headsplat_workflow.assets.needs import Need
from headsplat_workflow.assets.verify import glance

from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.logs import log

USER, PASSWORD = "HEADSPLAT_FLAME_USER", "HEADSPLAT_FLAME_PASSWORD"


def fetch(
    url: str, out: Path, published: str | None = None, account: bool = False,
    size: int | None = None,
) -> None:  # fmt: skip
    """Download one file to `out`; a broken download goes on where it stopped.

    Args:
        url: of the file.
        out: where to put it; bytes arrive in `<out>.part` until all are there and verified.
        published: SHA-256 of the file, or its beginning.
        account: the server wants the user's FLAME account, from the environment.
        size: bytes of the published file, where they are known.

    Raises:
        UserError: the server cannot be reached, refuses, sends a web page instead of the file or
            more than there can be, or the file is not the published one.
    """
    form = _form(out) if account else None
    part = out.with_name(out.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    download = Download(url, part, form, size, published is not None)
    continued = part.exists()
    try:
        _get(download, url, out)
        try:
            digest = _verified(part, url, out, published, account)
        except UserError:
            if not continued:
                raise
            # Its beginning may be of another version.
            log.warning("%s: the part that was there did not fit: starting over", out)
            _get(download, url, out)
            digest = _verified(part, url, out, published, account)
    finally:
        if part.exists() and not part.stat().st_size:
            download.forget()
    log.info("%s: %d bytes, SHA-256 %s", out, out.stat().st_size, digest)


def _get(download: Download, url: str, out: Path) -> None:
    """Run a download; whatever the server does wrong becomes one line."""
    try:
        download.run()
    except urllib.error.HTTPError as error:
        reason = shown(" ".join(str(error.reason).split()))
        raise UserError(f"{out}: {address(url)} answers {error.code} {reason}") from None
    except Refused as error:
        raise UserError(
            f"{out}: {address(url)} {error}; try again later, or download it by hand"
        ) from None
    except Broken as error:
        raise UserError(
            f"{out}: {address(url)} broke off ({one_line(error)}); "
            "run again to go on where it stopped"
        ) from None


def _verified(part: Path, url: str, out: Path, published: str | None, account: bool) -> str:
    """Give a whole download its name, or throw it away; returns its SHA-256."""
    named = part.rename(out.with_name(f".{out.name}.check{out.suffix}"))
    try:
        trouble = glance(named)
        if trouble is not None:
            hint = f"; check {USER} and {PASSWORD}" if account else ""
            raise UserError(f"{out}: what {address(url)} sent {trouble}{hint}")
        digest = file_digest(named)
        if published is not None and not digest.startswith(published):
            raise UserError(
                f"{out}: {address(url)} sent a file with SHA-256 {digest[:12]}..., the published "
                f"one has {published[:12]}...; it was thrown away"
            )
        os.replace(named, out)
    finally:
        named.unlink(missing_ok=True)
    return digest


def _form(out: Path) -> bytes:
    """The account as the body of a request; it is never part of an address, log or message."""
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if not user or not password:
        raise UserError(
            f"{out}: needs your own FLAME account: register at https://flame.is.tue.mpg.de, accept "
            f"its licence, and set {USER} and {PASSWORD}"
        )
    return urllib.parse.urlencode({"username": user, "password": password}).encode()


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
            fetch(
                url, need.path.parent / name, asset.hashes.get(name), asset.account,
                asset.sizes.get(name),
            )  # fmt: skip
        except UserError as error:
            failures.append(str(error))
    if failures:
        raise UserError(*failures)


def _choose(need: Need) -> tuple[str, str]:
    """Name and address for an asset: the configuration's name where it has one, else the first."""
    asset = CATALOGUE[need.key]
    if need.path.name in asset.urls:
        return need.path.name, asset.urls[need.path.name]
    if need.path.name != asset.names[0] or not asset.urls:
        raise UserError(f"{need.path}: has no address of its own; {need.remedy}")
    return next(iter(asset.urls.items()))
