"""Rows of the page from body.json, which `benchmarks/body.py` writes."""

from statistics import mean
from typing import Any

Row = dict[str, Any]
# Goals: dB gained near the edge and at the collar, dB of the whole person, pixels, and slowdown.
EDGE_GAIN, COLLAR_GAIN, WHOLE, RESIDUAL, CUT, JUMP, SLOWER = 2.5, 4.0, 29.0, 1.0, 0.5, 3.0, 1.5
OLD, STIFF = "old masks, stiff neck", "stiff neck"


def body_rows(content: dict[str, Row]) -> list[Row]:
    """Rows of every clip.

    Args:
        content: clip -> what `benchmarks.body.run` returned.
    """
    return [
        {"machine": result["machine"]} | row
        for clip, result in content.items()
        for row in clip_rows(clip, result)
    ]


def clip_rows(clip: str, result: Row) -> list[Row]:
    """Rows of one clip."""
    scores = {
        name: {metric: mean(values) for metric, values in metrics.items()}
        for name, metrics in result["scores"].items()
    }
    rows = [*_score_rows(clip, scores), *_steady_rows(clip, result)]
    return rows + (_rate_rows(clip, result["rates"]) if "rates" in result else [])


def _score_rows(clip: str, scores: dict[str, dict[str, float]]) -> list[Row]:
    """Held-out PSNR; a goal that is a gain is added to what it is compared with."""
    rows = []

    def compare(what: str, metric: str, name: str, peer: str, words: str,
                gain: float | None = None, peer_metric: str | None = None) -> None:  # fmt: skip
        value = scores.get(name, {}).get(metric)
        other = scores.get(peer, {}).get(peer_metric or metric)
        if value is None or other is None:
            return
        rows.append({
            "what": f"{clip}: {what}", "value": value, "unit": "dB", "peer": words,
            "peer_value": other, "target": None if gain is None else other + gain,
        })  # fmt: skip

    both = "each with its own masks"
    compare(f"psnr_head, {both}", "psnr_head", "new", "old", OLD, None, "old_psnr_head")
    compare(f"psnr_edge, {both}", "psnr_edge", "new", "old", OLD, EDGE_GAIN, "old_psnr_edge")
    compare("psnr_head, scored with the old masks", "old_psnr_head", "new", "old", OLD)
    compare("the same, trained on them", "old_psnr_head", "old_trunk", "old", OLD, 1.0)
    compare("psnr_edge, the same", "old_psnr_edge", "old_trunk", "old", OLD)
    compare("psnr_head, trunk alone", "psnr_head", "trunk", "stiff", STIFF)
    compare("psnr_head, hair alone", "psnr_head", "new", "trunk", "without hair layers")
    compare("psnr_edge, hair alone", "psnr_edge", "new", "trunk", "without hair layers")
    compare("psnr_collar with torso", "psnr_collar", "new", "stiff", STIFF, COLLAR_GAIN)
    whole = scores.get("new", {}).get("psnr_full")
    if whole is not None:
        row = {"what": f"{clip}: psnr_full with torso", "value": whole, "unit": "dB"}
        stiff = scores.get("stiff", {}).get("psnr_full")
        peer = {} if stiff is None else {"peer": STIFF, "peer_value": stiff}
        rows.append(row | {"target": WHOLE} | peer)
    return rows


def _steady_rows(clip: str, result: Row) -> list[Row]:
    """The trunk's pose and the masks' lower edge."""
    trunk, stiff = result["trunk"]["trunk"], result["trunk"]["stiff"]
    rows = [
        {
            "what": f"{clip}: trunk's flow that its pose leaves, {words}, median",
            "value": trunk[key], "unit": "px", "target": RESIDUAL, "peer": STIFF,
            "peer_value": stiff[key],
        }
        for words, key in (("a frame", "median_1"), ("16 frames", "median_16"))
    ]  # fmt: skip
    new, old = result["cut"]["new"], result["cut"].get("old")
    for words, key, unit, target in (
        ("median", "median", "px", CUT), ("worst frame", "worst_frame", "px", JUMP),
        ("columns over 3 px", "jumps", "%", None),
    ):  # fmt: skip
        peer = {} if old is None else {"peer": "old masks", "peer_value": old[key]}
        rows.append({
            "what": f"{clip}: change of the masks' lower edge, {words}", "value": new[key],
            "unit": unit, "target": target,
        } | peer)  # fmt: skip
    return rows


def _rate_rows(clip: str, rates: dict[str, float]) -> list[Row]:
    """Rendering with the torso, and how much slower that is."""
    rows = []
    for words, key in (("one at a time", "single"), ("in batches", "batched")):
        rows += [
            {
                "what": f"{clip}: head and torso, {words}", "value": rates[f"{key}_torso"],
                "unit": "frames/s", "peer": "the head alone", "peer_value": rates[f"{key}_head"],
            },
            {
                "what": f"{clip}: slowdown by the torso, {words}", "value": rates[f"{key}_slower"],
                "unit": "times", "target": SLOWER,
            },
        ]  # fmt: skip
    return rows
