"""Foreign files: what is missing stops a run in time, what is added reruns its users."""

import subprocess
import zipfile

import torch
import yaml

from benchmarks.network_files import random_bisenet

from .conftest import TINY, Checkout

HEADER = "subject\tvideo\thead\tpreset\n"
DEMO = "demo\tbuiltin\tprocedural\tpreview\n"


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    lines = (result.stdout + result.stderr).splitlines()
    return [line for line in lines if line.startswith("error:")]


def test_the_table_lists_every_file_and_runs_each_time(checkout: Checkout) -> None:
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + DEMO)
    for _ in range(2):
        result = checkout.snakemake("assets_check")
        assert result.returncode == 0, result.stdout + result.stderr
        for name in ("rvm", "bisenet", "face_landmarker"):
            assert f"\n{name} " in result.stdout
    (checkout.folder / "assets").mkdir()
    (checkout.folder / "assets/mica.tar").write_bytes(b"")
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + DEMO + "me\tbuiltin\tflame\t\n")
    result = checkout.snakemake("assets_check")
    assert result.returncode == 1
    found = errors(result)
    assert "mica.tar: is empty" in " ".join(found)
    assert len(set(found)) == 7  # and the six files of FLAME
    assert "Traceback" not in result.stderr


def test_a_missing_head_stops_the_run_that_needs_it_alone(checkout: Checkout) -> None:
    table = HEADER + DEMO + "me\tbuiltin\tflame\tpreview\n"
    (checkout.folder / "config/subjects.tsv").write_text(table)
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    assert len(errors(result)) == 6
    assert "flame/generic_model.pkl: is missing; get it at https://flame" in errors(result)[0]
    assert "Traceback" not in result.stderr
    assert checkout.planned("demo")
    # What is asked says so too, though the log is not shown.
    for asked in ("plan", "assets_check"):
        result = checkout.snakemake(asked, "--quiet", "all")
        assert result.returncode == 1
        assert "error: assets/flame/generic_model.pkl: is missing; get it" in result.stdout, asked


def test_weights_rerun_what_uses_them(checkout: Checkout) -> None:
    assets = checkout.folder / "assets"
    assets.mkdir()
    before = checkout.planned("demo")
    assert before["parse_chunk"] == 2
    torch.save(random_bisenet().state_dict(), assets / "79999_iter.pth")
    result = checkout.snakemake("-n", "--printshellcmds", "work/demo/parsing/000.zip")
    assert result.returncode == 0, result.stdout + result.stderr
    shown = result.stdout + result.stderr
    assert "--frames=work/demo/frames/000.zip --weights=assets/79999_iter.pth" in shown
    assert "track_head" not in shown, "the network needs no track"
    # The check of hashes comes before the first job.
    result = checkout.snakemake("work/demo/parsing/000.zip")
    assert result.returncode == 1
    assert "79999_iter.pth: has SHA-256" in errors(result)[0]
    assert not (checkout.folder / "work/cuda_ext").exists()


def test_a_network_can_be_named_or_forbidden(checkout: Checkout) -> None:
    named = TINY | {"networks": {"rvm": "models/mine.onnx"}, "parse": {"model": "bisenet"}}
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(named))
    result = checkout.snakemake("-n", "demo")
    assert result.returncode == 1
    assert {line.split(":")[1].strip() for line in errors(result)} == {
        "models/mine.onnx", "assets/79999_iter.pth"
    }  # fmt: skip
    forbidden = named | {"matte": {"model": "mediapipe"}, "parse": {"model": "geometry"}}
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(forbidden))
    assert checkout.planned("demo")["matte_chunk"] == 2


def test_mica_goes_before_the_track(checkout: Checkout) -> None:
    assets = checkout.folder / "assets"
    (assets / "flame/blendshapes").mkdir(parents=True)
    for name in ("generic_model.pkl", "FlameMesh.obj", "FLAME_masks.pkl"):
        (assets / "flame" / name).write_bytes(b"\x80\x02")
    (assets / "flame/landmark_embedding.npy").write_bytes(b"\x93NUMPY")
    with zipfile.ZipFile(assets / "flame/mediapipe_landmark_embedding.npz", "w") as archive:
        archive.writestr("a", b"")
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + "me\tbuiltin\tflame\tpreview\n")
    assert "solve_identity" not in checkout.planned("work/me/track/track.npz")
    (assets / "mica.tar").write_bytes(b"\x80\x02")
    assert checkout.planned("work/me/track/track.npz")["solve_identity"] == 1
    result = checkout.snakemake("-n", "--printshellcmds", "work/me/track/track.npz")
    assert "--identity=work/me/mica.npy" in result.stdout + result.stderr
