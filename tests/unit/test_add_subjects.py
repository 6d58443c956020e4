"""A folder of videos becomes rows of the table of subjects."""

from pathlib import Path

import pytest

from headsplat_workflow.add_subjects import add_videos
from headsplat_workflow.subjects import read_subjects

from headsplat.runtime.errors import UserError

PRESETS = {"standard": {}, "preview": {}}
HEADER = "subject\tvideo\thead\tpreset\n"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("subjects.tsv").write_text(HEADER + "demo\tbuiltin\tprocedural\tpreview\n")
    Path("videos").mkdir()


def videos(*names: str) -> None:
    for name in names:
        Path("videos", name).write_bytes(b"a video")


def add(folder: str = "videos", suffix: str = "") -> list[str]:
    subjects = read_subjects(Path("subjects.tsv"), PRESETS)
    return list(add_videos(subjects, folder, suffix, "ict", "standard"))


def rows() -> dict[str, str]:
    """Subject -> video."""
    subjects = read_subjects(Path("subjects.tsv"), PRESETS)
    assert not subjects.refused
    return {name: subject.video for name, subject in subjects.items()}


def test_each_video_gets_a_row_and_present_rows_stay():
    videos("anna.mp4", "Ben takes 2.MOV", "notes.txt")
    lines = add()
    assert rows() == {
        "demo": "builtin", "Ben_takes_2": "videos/Ben takes 2.MOV", "anna": "videos/anna.mp4",
    }  # fmt: skip
    assert lines[2].endswith("do not end like those of videos, 1 of them")
    assert lines[-1] == "subjects.tsv: 2 rows added, head ict, preset standard"
    before = Path("subjects.tsv").read_bytes()
    assert add()[0] == "there already: videos/Ben takes 2.MOV"
    assert Path("subjects.tsv").read_bytes() == before


def test_names_are_made_safe_and_unique():
    videos("demo.mp4", "demo.webm", "$(touch x).mp4", "été.mp4", "-.mp4", "a" * 200 + ".mp4")
    videos("ab" * 30 + ".mp4")  # a name that Snakemake takes for a loop
    add()
    found = rows()
    assert len(found) == 8
    assert {"demo", "demo_2", "demo_3", "touch_x", "video"} <= set(found)
    assert max(map(len, found)) <= 100
    assert not Path("x").exists()


def test_a_suffix_keeps_folders_apart():
    videos("anna.mp4")
    add()
    Path("videos").rename("old")
    Path("videos").mkdir()
    videos("anna.mp4")
    Path("subjects.tsv").write_text(HEADER + "anna\told/anna.mp4\tict\tstandard\n")
    add(suffix="night")
    assert rows() == {"anna": "old/anna.mp4", "anna_night": "videos/anna.mp4"}


def test_odd_files_are_left_out_with_a_line():
    videos("good.mp4", "tab\there.mp4", "line\nbreak.mp4", "\udcff.mp4")
    Path("videos/empty.mp4").touch()
    Path("videos/broken.mp4").symlink_to("nowhere")
    Path("videos/folder.mp4").mkdir()
    text = "\n".join(add())
    assert rows() == {"demo": "builtin", "good": "videos/good.mp4"}
    assert "empty.mp4 is empty" in text
    assert "broken.mp4 is a broken link" in text
    assert text.count("control characters") == 3


def test_columns_and_names_of_any_table_are_kept():
    videos("anna.mp4")
    Path("subjects.tsv").write_text(
        "\ufeff# people\nhead\tidentity\tsubject\tvideo\tpreset\nict\t\tdemo\tbuiltin\t"
    )
    add()
    assert rows() == {"demo": "builtin", "anna": "videos/anna.mp4"}


def test_a_folder_elsewhere_is_named_in_full(tmp_path, monkeypatch):
    videos("anna.mp4")
    Path("checkout").mkdir()
    Path("subjects.tsv").rename("checkout/subjects.tsv")
    monkeypatch.chdir("checkout")
    add("../videos")
    assert rows()["anna"] == str(tmp_path / "videos/anna.mp4")


@pytest.mark.parametrize(
    ("folder", "suffix", "message"),
    [
        ("nowhere", "", "'nowhere' is not there"),
        ("subjects.tsv", "", "is not a folder"),
        ("videos", "", "there is no video in it"),
        ("videos", "a b", "suffix 'a b'"),
        ("videos", "../up", "suffix"),
    ],
)
def test_what_cannot_be_used_is_refused(folder, suffix, message):
    before = Path("subjects.tsv").read_bytes()
    with pytest.raises(UserError, match=message):
        add(folder, suffix)
    assert Path("subjects.tsv").read_bytes() == before


def test_a_table_in_another_encoding_is_refused():
    videos("anna.mp4")
    Path("subjects.tsv").write_text(HEADER + "demo\tbuiltin\tprocedural\tpreview\n", "utf-16")
    with pytest.raises(UserError, match="save it as UTF-8"):
        add()
