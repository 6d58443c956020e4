"""Missing assets stop a run before its first job; added ones rerun the stages that use them."""

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


def test_assets_check_lists_every_file_and_always_runs(checkout: Checkout) -> None:
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + DEMO)
    for _ in range(2):
        result = checkout.snakemake("assets_check")
        assert result.returncode == 0, result.stdout + result.stderr
        for name in ("rvm", "bisenet"):
            assert f"\n{name} " in result.stdout
    (checkout.folder / "assets").mkdir()
    (checkout.folder / "assets/mica.tar").write_bytes(b"")
    (checkout.folder / "config/subjects.tsv").write_text(HEADER + DEMO + "me\tbuiltin\tflame\t\n")
    result = checkout.snakemake("assets_check")
    assert result.returncode == 1
    found = errors(result)
    assert "mica.tar: is empty" in " ".join(found)
    assert len(set(found)) == 7  # plus the six files of FLAME
    assert "Traceback" not in result.stderr


def test_missing_head_model_stops_only_runs_that_need_it(checkout: Checkout) -> None:
    table = HEADER + DEMO + "me\tbuiltin\tflame\tpreview\n"
    (checkout.folder / "config/subjects.tsv").write_text(table)
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    assert len(errors(result)) == 6
    assert "flame/generic_model.pkl: is missing; get it at https://flame" in errors(result)[0]
    assert "Traceback" not in result.stderr
    assert checkout.planned("demo")
    # The reporting rules print the error too, although their log is not shown.
    for asked in ("plan", "assets_check"):
        result = checkout.snakemake(asked, "--quiet", "all")
        assert result.returncode == 1
        assert "error: assets/flame/generic_model.pkl: is missing; get it" in result.stdout, asked


def test_added_weights_rerun_their_stages(checkout: Checkout) -> None:
    assets = checkout.folder / "assets"
    assets.mkdir()
    before = checkout.planned("demo")
    assert before["parse_chunk"] == 2
    torch.save(random_bisenet().state_dict(), assets / "79999_iter.pth")
    result = checkout.snakemake("-n", "--printshellcmds", "work/demo/parsing/000.zip")
    assert result.returncode == 0, result.stdout + result.stderr
    shown = result.stdout + result.stderr
    assert "--cut=work/demo/neck_cut.npz --weights=assets/79999_iter.pth" in shown
    assert "--landmarks" not in shown.split("parse_chunk.py")[1].split("\n")[0]
    # Hashes are verified before the first job.
    result = checkout.snakemake("work/demo/parsing/000.zip")
    assert result.returncode == 1
    assert "79999_iter.pth: has SHA-256" in errors(result)[0]
    assert not (checkout.folder / "work/cuda_ext").exists()


def test_network_can_be_selected_or_disabled(checkout: Checkout) -> None:
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


def test_mica_runs_before_tracking(checkout: Checkout) -> None:
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
