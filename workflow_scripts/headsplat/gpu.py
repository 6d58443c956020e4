"""Claiming a graphics card: a lock file per card that dies with the process that holds it."""

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []


def _cards() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [card.strip() for card in visible.split(",") if card.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return listing.stdout.split()


def _lock(handle: IO[str], wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def claim_card(folder: Path | None = None) -> str | None:
    """Claim one free card and make it the only one this process sees.

    Must run before torch is imported. Returns the card's name in CUDA_VISIBLE_DEVICES, or None
    on a machine without cards. When all are taken the least surprising thing is to wait for one.
    """
    cards = _cards()
    if not cards:
        return None
    folder = folder or Path(tempfile.gettempdir()) / "headsplat-cards"
    folder.mkdir(parents=True, exist_ok=True)
    handles = [open(folder / f"card-{card}.lock", "a") for card in cards]  # noqa: SIM115
    chosen = next((i for i, handle in enumerate(handles) if _lock(handle, wait=False)), None)
    if chosen is None:
        chosen = os.getpid() % len(cards)
        _lock(handles[chosen], wait=True)
    card, handle = cards[chosen], handles[chosen]
    for other in handles:
        if other is not handle:
            other.close()
    _held.append(handle)
    os.environ["CUDA_VISIBLE_DEVICES"] = card
    return card
