"""Split into training, held-out and guard frames."""

import pytest

from headsplat.evaluate.split import GUARD, split_frames
from headsplat.frames.table import FrameRow, read_frames
from headsplat.runtime.errors import UserError


def clip(count: int, bad: dict[int, str] | None = None) -> list[FrameRow]:
    bad = bad or {}
    return [FrameRow(i, (i - 1) / 25, bad.get(i, "ok"), 1.0, 1) for i in range(1, count + 1)]


def blocks(ids: list[int]) -> list[list[int]]:
    out: list[list[int]] = []
    for i in ids:
        if out and out[-1][-1] == i - 1:
            out[-1].append(i)
        else:
            out.append([i])
    return out


@pytest.mark.parametrize("count", [75, 300, 1501])
@pytest.mark.parametrize("mode", ["last", "spread"])
def test_partition_and_share(count: int, mode: str) -> None:
    split = split_frames(clip(count), mode)
    everything = sorted(split["train"] + split["test"] + split["guard"] + split["unusable"])
    assert everything == list(range(1, count + 1))
    assert abs(len(split["test"]) / count - 0.15) < 0.01
    assert len(blocks(split["test"])) == (1 if mode == "last" else 5)


def test_spread_blocks_stand_between_guards() -> None:
    split = split_frames(clip(300), "spread")
    train = set(split["train"])
    for block in blocks(split["test"]):
        assert not train & set(range(block[0] - GUARD, block[-1] + GUARD + 1))
        assert block[0] - GUARD - 1 in train
        assert block[-1] + GUARD + 1 in train


def test_auto_follows_the_length() -> None:
    assert split_frames(clip(1500), "auto")["mode"] == "spread"
    assert split_frames(clip(1501), "auto")["mode"] == "last"
    assert split_frames(clip(1501), "auto")["test"][-1] == 1501


def test_unusable_frames_neither_train_nor_test() -> None:
    split = split_frames(clip(300, {1: "no_face", 299: "clipped", 5: "several_faces"}), "last")
    assert split["unusable"] == [1, 299]
    assert 5 in split["train"]


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UserError, match="only 0 of 60 frames"):
        split_frames(clip(60, {i: "no_face" for i in range(1, 61)}))


def test_table_errors_name_the_file(tmp_path) -> None:
    table = tmp_path / "frames.tsv"
    table.write_text("id\ttime\tstatus\n1\t0\tok\n")
    with pytest.raises(UserError, match="frames.tsv"):
        read_frames(table)


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        ("no_face", "face stays in sight"),
        ("clipped", "whole face, forehead to chin, is inside the image"),
        ("another_person", "of one person"),
        ("undecodable", "undamaged video"),
    ],
)
def test_advice_fits_the_most_common_status(status: str, fix: str) -> None:
    rows = clip(200, {i: status for i in range(11, 200)} | {200: "blurred"})
    with pytest.raises(UserError, match=f"not usable: 189 {status}; .*{fix}") as caught:
        split_frames(rows)
    assert "longer" not in str(caught.value)


def test_a_short_clip_asks_for_a_longer_one() -> None:
    with pytest.raises(UserError, match="only 0 of 20 .*all are usable; record a longer clip"):
        split_frames(clip(20), "spread")


@pytest.mark.parametrize("mode", ["last", "spread"])
def test_held_out_frames_are_usable(mode: str) -> None:
    split = split_frames(clip(300, {i: "another_person" for i in range(201, 301)}), mode)
    assert split["unusable"] == list(range(201, 301))
    assert len(split["test"]) == 30
