"""Unusual file names work in real runs, and a bad table row fails alone."""

import os
import re
import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from tests.unit.video_files import make_video

from .conftest import TINY, Checkout

HEADER = "subject\tvideo\thead\tpreset\tintrinsics\tidentity\timport\tavatar\n"
NAMES = (
    "holiday clip.mp4", "Recording 2026-05-01 at 10.00.00 (1).mp4", "don't.mp4", "a&b.mp4",
    "$(touch touched).mp4", "`touch touched`;touch touched.mp4", "g{h}.mp4", "{subject}.mp4",
    "-dash.mp4", "new\nline.mp4", "a\ttab.mp4", 'ü"\u2028\x0b*?\\.mp4',
)  # fmt: skip


def write_video(path: Path) -> Path:
    """Write 2.5 seconds without a face."""
    return make_video(path, range(64), Fraction(1, 25))


def cell(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if set(text) & set('\n\t"') else text


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error:")]


def test_videos_with_unusual_names_are_probed(checkout: Checkout) -> None:
    clip = write_video(checkout.folder / "clip.mp4")
    rows = []
    for number, name in enumerate(NAMES):
        os.link(clip, checkout.folder / name)
        rows.append(f"s{number}\t{cell(name)}\tprocedural\tpreview\n")
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + "".join(rows))
    wanted = [f"work/s{number}/video.json" for number in range(len(NAMES))]
    result = checkout.snakemake(*wanted)
    assert result.returncode == 0, result.stdout + result.stderr
    assert all((checkout.folder / file).is_file() for file in wanted)
    assert not list(checkout.folder.rglob("touched"))
    assert checkout.planned(*wanted) == {}


def commands(result: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """Stage -> the words of its command, for the printed commands."""
    lines = (result.stdout + result.stderr).split("\n")
    found = [shlex.split(line.partition("exec python ")[2]) for line in lines if "exec py" in line]
    return {Path(words[0]).stem: words[1:] for words in found}


def test_table_cells_and_configured_paths_are_quoted_as_one_word(checkout: Checkout) -> None:
    folder = checkout.folder
    name = "-a $(touch touched) {b} 'c'"
    for path in (f"{name}.npy", f"{name}.pth", f"{name}.onnx", f"{name}.mp4"):
        (folder / path).write_bytes(b"\x93NUMPY")
    (folder / f"{name}.d").mkdir()
    (folder / "ict $(touch touched)").mkdir()
    (folder / "config/subjects.tsv").write_text(
        HEADER + f"one\t{name}.mp4\tict\tpreview\t900,900,5,5\t{name}.npy\n"
        f"two\t-\tict\tpreview\t\t\tmetrical-tracker:{name}.d\t{name}.pth\n"
    )
    settings = TINY | {
        "heads": {"ict": "ict $(touch touched)"},
        "networks": {"rvm": f"{name}.onnx", "bisenet": f"{name}.onnx"},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    result = checkout.snakemake("-n", "--printshellcmds", "all")
    assert result.returncode == 0, result.stdout + result.stderr
    words = commands(result)
    assert f"--video={name}.mp4" in words["probe_video"]
    assert {f"--identity={name}.npy", "--intrinsics=900,900,5,5"} <= set(words["track_head"])
    assert "--file=ict=ict $(touch touched)" in words["build_head"]
    assert f"--folder={name}.d" in words["import_track"]
    assert f"--checkpoint={name}.pth" in words["import_avatar"]
    assert f"--weights={name}.onnx" in words["matte_chunk"]
    assert f"--weights={name}.onnx" in words["parse_chunk"]
    result = checkout.snakemake("assets_check", "fetch_assets", "status", "doctor")
    said = result.stdout + result.stderr
    assert re.search(rf"^bisenet +present +{re.escape(name)}.onnx$", said, re.M)
    assert "one  not started" in said
    assert "usage:" not in said
    assert "Traceback" not in said
    assert not list(folder.rglob("touched"))


def test_a_page_with_bad_motions_is_one_line(checkout: Checkout) -> None:
    for named in ("my motion", "a" * 40, "x" * 300, "a,,b"):
        settings = TINY | {"web": {"motions": named}}
        (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
        result = checkout.snakemake("-n", "results/demo/export/web/demo.html")
        assert result.returncode == 1
        assert len(errors(result)) == named.count(",") + 1
        assert "there is no motion '" in errors(result)[0]
        assert "Exception" not in result.stderr
        assert "Traceback" not in result.stderr


@pytest.fixture
def mixed(checkout: Checkout) -> Checkout:
    """Two subjects with a video, rows that cannot be used, and a motion that cannot."""
    write_video(checkout.folder / "good.mp4")
    write_video(checkout.folder / "late.mp4")
    os.utime(checkout.folder / "late.mp4", (4e9, 4e9))
    (checkout.folder / "folder.mp4").mkdir()
    rows = (
        f"good\tgood.mp4\tprocedural\tpreview\n{'n' * 300}\tgood.mp4\tprocedural\tpreview\n"
        "bad\tfolder.mp4\tprocedural\tpreview\nlate\tlate.mp4\tprocedural\tpreview\n"
        "shell\tgood.mp4\tprocedural\tpreview\t$(touch touched)\n"
    ).encode()
    rows += b"latin\t\xfc.mp4\tprocedural\tpreview\nalso\tgood.mp4\tprocedural\tpreview\n"
    (checkout.folder / "config/subjects.tsv").write_bytes(HEADER.encode() + rows)
    (checkout.folder / "config/motions.tsv").write_text("name\tkind\tfile\nwave\tbvh\tx.bvh\n")
    return checkout


def test_bad_row_fails_alone(mixed: Checkout) -> None:
    asked = ("work/good/video.json", "work/bad/video.json", "work/late/crop.json")
    result = mixed.snakemake(*asked, "work/also/video.json")
    assert result.returncode == 1
    assert (mixed.folder / "work/good/video.json").is_file()
    assert (mixed.folder / "work/also/video.json").is_file()
    end = result.stderr[result.stderr.index("done: ") :]
    assert "done: also, good\n" in end
    assert (
        "bad: FAILED in refuse\n    error: config/subjects.tsv line 4: the video 'folder.mp4'"
        in end
    )
    assert "late: FAILED in refuse\n    error: subject 'late': late.mp4: dated 2096-" in end
    assert not list(mixed.folder.rglob("touched"))
    # Requesting only good subjects prints no errors of the others.
    result = mixed.snakemake("-n", "work/good/video.json", "work/also/video.json")
    assert result.returncode == 0
    assert errors(result) == []


def test_dry_run_prints_every_bad_row_and_plans_the_others(mixed: Checkout) -> None:
    result = mixed.snakemake("-n", "all")
    assert result.returncode == 1
    found = errors(result)
    for line, text in (
        (3, "nnn...' is no subject name"),
        (4, "the video 'folder.mp4' of 'bad' is a folder"),
        (6, "'intrinsics' of 'shell' is '$(touch touched)'"),
        (7, r"subject 'latin' has '\udcfc.mp4'"),
    ):
        assert [f"subjects.tsv line {line}: " in error for error in found if text in error] == [
            True
        ]
    assert any("late.mp4: dated" in error for error in found)
    assert any("motions.tsv line 2: unknown kind 'bvh'" in error for error in found)
    assert len(found) == 6
    assert "Traceback" not in result.stderr
    assert "rule train_avatar" in result.stdout + result.stderr

    plan = mixed.snakemake("plan", "-q", "all")
    assert plan.returncode == 0, plan.stderr
    assert "  refuse  1 job     config/subjects.tsv line 4: " in plan.stdout
    status = mixed.snakemake("status", "-q", "all")
    assert status.returncode == 0, status.stderr
    assert "bad     refused      config/subjects.tsv line 4: " in status.stdout
    assert status.stdout.splitlines()[-1] == "7 subjects: 4 refused, 3 not started"


def test_file_deleted_during_planning_fails_alone(mixed: Checkout) -> None:
    (mixed.folder / "gone.mp4").touch()
    (mixed.folder / "gone/inside").mkdir(parents=True)
    with (mixed.folder / "config/subjects.tsv").open("a", newline="") as table:
        table.write("gone\tgone.mp4\tprocedural\tpreview\n")
        table.write("import\t-\tprocedural\tpreview\t\t\tmetrical-tracker:gone\n")
    # Between reading the tables and planning jobs.
    (mixed.folder / "Vanishing.smk").write_text(
        'include: "Snakefile"\nos.remove("gone.mp4")\nos.rmdir("gone/inside")\nos.rmdir("gone")\n'
    )
    asked = ("work/good/video.json", "work/gone/video.json", "work/import/track/track.npz")
    result = mixed.snakemake("-s", "Vanishing.smk", "-n", *asked)
    assert result.returncode == 1
    assert sorted(errors(result)) == [
        f"error: config/subjects.tsv: '{path}' of '{name}' is not there any more; put it back"
        for path, name in (("gone", "import"), ("gone.mp4", "gone"))
    ]
    assert "output: work/good/video.json" in result.stdout + result.stderr


def test_damaged_files_of_one_subject_do_not_stop_others(mixed: Checkout) -> None:
    for name, text in (("good", '{"n_frames": ' + "9" * 5000 + "}"), ("also", "[" * 100_000)):
        (mixed.folder / "work" / name).mkdir(parents=True)
        (mixed.folder / "work" / name / "video.json").write_text(text)
    (mixed.folder / "logs/good").mkdir(parents=True)
    (mixed.folder / "logs/good/probe_video.tsv").write_bytes(b"\xff\0\n\n1\t2")
    result = mixed.snakemake("-n", "work/good/landmarks.npz", "work/also/landmarks.npz")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "rule solve_crop" in result.stdout + result.stderr
    assert "mem_mb=1" in result.stdout + result.stderr  # instead of more than any machine has
