"""Each edit of a finished run reruns exactly the affected rules and jobs."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from .conftest import TINY, Checkout

pytestmark = pytest.mark.slow

NOTHING: dict[str, int] = {}
REPORT = {"write_report": 1}
EVALUATE = {"evaluate_avatar": 1} | REPORT
DRIVE = {"drive_avatar": 1}
WEB = {"export_web": 1}
TRAIN = {"train_avatar": 1} | EVALUATE | DRIVE | WEB
SPEAK = {"speak_motion": 1} | DRIVE | WEB
VOICE = {"learn_voice": 1} | REPORT | SPEAK
PARSE = {"parse_chunk": 2, "export_dataset": 1} | TRAIN
DECIDE = {"decide_cut": 1} | PARSE
REFINE = {"refine_track": 1, "export_frames": 1, "overlay_track": 1} | DECIDE | VOICE
MATTE = {"matte_chunk": 2} | REFINE
TRACK = {"track_head": 1} | REFINE
CUT = {"crop_chunk": 2} | MATTE
CROP = {"solve_crop": 1, "split_frames": 1} | TRACK | CUT
DETECT = {"detect_chunk": 2} | CROP
PROBE = {"probe_video": 1} | DETECT
BUILTIN = {"render_builtin": 1} | PROBE
HEAD = {"build_head": 1} | BUILTIN
EVERYTHING = {"build_cuda_ext": 1} | HEAD
THREE_CHUNKS = dict.fromkeys(("detect_chunk", "crop_chunk", "matte_chunk", "parse_chunk"), 3)

# An edit of a file's text.
Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def run(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the finished run, with its time stamps and metadata; each test restores it."""
    folder = tmp_path_factory.mktemp("invalidate") / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    return Checkout(folder)


@contextmanager
def changed(path: Path, edit: Callable[[bytes], bytes]) -> Iterator[None]:
    """Context manager that edits or creates a file, and restores it with its time stamp."""
    before = (path.read_bytes(), path.stat()) if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(edit(before[0] if before else b""))
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before[0])
            os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))


def text(edit: Edit) -> Callable[[bytes], bytes]:
    return lambda data: edit(data.decode()).encode()


def options(**sections: Any) -> Callable[[bytes], bytes]:
    """The tiny configuration with other options; preset options are nested under `preview`."""
    tiny = deepcopy(TINY)
    for name, value in sections.pop("preview", {}).items():
        both = isinstance(value, dict) and name in tiny["presets"]["preview"]
        tiny["presets"]["preview"][name] = (
            tiny["presets"]["preview"][name] | value if both else value
        )
    return lambda _: yaml.safe_dump(tiny | sections).encode()


@pytest.mark.parametrize(
    ("sections", "planned"),
    [
        ({"builtin": {"seconds": 4, "size": 320}}, BUILTIN),
        ({"detect": {"second": "face_alignment"}}, DETECT),
        ({"detect": {"model": "mediapipe"}}, DETECT),
        ({"preview": {"chunks": 3}}, DETECT | THREE_CHUNKS),
        ({"preview": {"crop": {"size": 96}}}, CROP),
        ({"matte": {"edge_radius": 5}}, MATTE),
        ({"track": {"trunk": "none"}}, REFINE),
        ({"preview": {"track": {"photometric": "always"}}}, REFINE),
        ({"split": {"mode": "last"}}, {"split_frames": 1} | TRAIN),
        ({"preview": {"train": {"steps": 31}}}, TRAIN),
        ({"web": {"precision": "fp16"}}, WEB),
        ({"web": {"motions": "none"}}, WEB),
        # Options that no stage of this subject reads, and defaults written explicitly.
        (
            {
                "heads": {"ict": "other.zip", "flame": "elsewhere"},
                "import": {"blink_gain": 0.9},
                "parse": {"model": "geometry"},
                "presets": TINY["presets"] | {"another": {"chunks": 9}},
            },
            NOTHING,
        ),
    ],
)
def test_options(run: Checkout, sections: dict[str, Any], planned: dict[str, int]) -> None:
    with changed(run.folder / "tiny.yaml", options(**deepcopy(sections))):
        assert run.planned("demo") == planned


@pytest.mark.parametrize(
    ("header", "row", "planned"),
    [
        ("intrinsics", "preview\t900,900,160,160", TRACK),
        ("identity", "preview\tcode.npy", TRACK),
        ("identity", "more_steps\t", TRAIN),  # another preset, which differs in one option
    ],
)
def test_edited_subject_row_reruns_affected_rules(
    run: Checkout, header: str, row: str, planned: dict[str, int]
) -> None:
    np.save(run.folder / "code.npy", np.zeros(300, np.float32))
    preview = TINY["presets"]["preview"]
    more = {
        **yaml_preset("preview"),
        **preview,
        "train": {**yaml_preset("preview")["train"], **preview["train"], "steps": 31},
    }
    presets = TINY["presets"] | {"more_steps": more}
    table = f"subject\tvideo\thead\tpreset\t{header}\ndemo\tbuiltin\tprocedural\t{row}\n"
    with (
        changed(run.folder / "tiny.yaml", options(presets=presets)),
        changed(run.folder / "config/subjects.tsv", lambda _: table.encode()),
    ):
        assert run.planned("demo") == planned


def yaml_preset(name: str) -> dict[str, Any]:
    """A preset of the shipped configuration."""
    return yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())[
        "presets"
    ][name]


def statement(source: str) -> str:
    """Append a statement, which changes the syntax tree."""
    return source + "\nAN_EDIT = 1\n"


@pytest.mark.parametrize(
    ("source", "planned"),
    [
        ("headsplat/synthetic/head/calibrated.py", HEAD),
        ("headsplat/synthetic/room.py", BUILTIN),
        ("headsplat/video/probe.py", PROBE),
        ("headsplat/detect/face_colors.py", DETECT),
        ("headsplat/detect/solve.py", CROP),
        ("headsplat/video/crop.py", CUT),
        ("headsplat/masks/refine.py", MATTE),
        ("headsplat/masks/neck_cut.py", DECIDE),
        ("headsplat/tracking/priors.py", TRACK),
        ("headsplat/tracking/photometric/refine.py", REFINE),
        ("headsplat/tracking/overlay.py", {"overlay_track": 1}),
        ("headsplat/formats/frame_folder.py", {"export_frames": 1}),
        ("headsplat/evaluate/split.py", {"split_frames": 1} | TRAIN),
        ("headsplat/formats/flashavatar/writer.py", {"export_dataset": 1}),
        ("headsplat/train/losses.py", TRAIN),
        ("headsplat/speech/regression.py", VOICE),
        ("headsplat/speech/visemes.py", SPEAK),
        ("headsplat/evaluate/pairs.py", EVALUATE),
        ("headsplat/evaluate/report/charts.py", REPORT),
        ("headsplat/runtime/files.py", EVERYTHING | {"render_builtin_speech": 1}),
        ("workflow_scripts/train_avatar.py", TRAIN),
        ("workflow_scripts/overlay_track.py", {"overlay_track": 1}),
    ],
)
def test_code(run: Checkout, source: str, planned: dict[str, int]) -> None:
    with changed(run.folder / source, text(statement)):
        assert run.planned("demo") == planned


def test_a_file_of_the_web_page(run: Checkout) -> None:
    page = run.folder / "headsplat/web/page/style.css"
    with changed(page, lambda data: data + b"\n/* an edit */\n"):
        assert run.planned("demo") == WEB


def test_a_kernel(run: Checkout) -> None:
    kernel = min((run.folder / "cuda_ext").rglob("*.cpp"))
    with changed(kernel, lambda data: data + b"\n// an edit\n"):
        assert run.planned("demo") == EVERYTHING


def test_edits_without_effect_rerun_nothing(run: Checkout) -> None:
    """Comments, formatting, time stamps, unused conda files, profiles, other subjects' rows."""
    library, scripts = run.folder / "headsplat", run.folder / "workflow_scripts"
    for path in [*library.rglob("*.py"), *scripts.rglob("*.py")]:
        path.touch()
    for path in [*(run.folder / "rules").iterdir(), *(run.folder / "cuda_ext").rglob("*.cpp")]:
        path.touch()
    remark = text(lambda source: source + "\n# a remark\n")
    other = "another\tother.mp4\tict\tstandard\n"
    with (
        changed(library / "rotations.py", remark),
        changed(
            library / "masks/refine.py",
            text(lambda source: source.replace("\ndef ", "\n\n\ndef ").replace('"""', '"""An ', 1)),
        ),
        changed(library / "runtime/gpu.py", text(statement)),
        changed(run.folder / "Snakefile", remark),
        changed(run.folder / "rules/avatar.smk", remark),
        changed(run.folder / "config/config.yaml", remark),
        changed(run.folder / "envs/trainer.yaml", remark),
        changed(
            run.folder / "envs/tracker.yaml", lambda data: data.replace(b"numpy==", b"numpy>=")
        ),
        changed(
            run.folder / "profiles/default/config.yaml",
            text(lambda s: s + "printshellcmds: true\n"),
        ),
        changed(run.folder / "other.mp4", lambda _: b"a video"),
        changed(run.folder / "config/subjects.tsv", text(lambda s: s.rstrip("\n") + "\n" + other)),
    ):
        assert run.planned("demo") == NOTHING


@pytest.mark.parametrize(
    ("files", "planned"),
    [
        (["rvm_mobilenetv3.pth"], MATTE),
        (["79999_iter.pth"], PARSE),
        (["vgg16-397923af.pth"], NOTHING),  # unused without the other file
        (["vgg16-397923af.pth", "vgg.pth"], TRAIN),
    ],
)
def test_added_weights_rerun_affected_rules(
    run: Checkout, files: list[str], planned: dict[str, int]
) -> None:
    assets = run.folder / "assets"
    assets.mkdir(exist_ok=True)
    for name in files:
        (assets / name).write_bytes(b"PK\x03\x04 weights")
    try:
        assert run.planned("demo") == planned
    finally:
        shutil.rmtree(assets)


def test_missing_chunk_is_remade_and_what_the_whole_clip_gives(run: Checkout) -> None:
    """The trunk and the cut are of all mattes."""
    chunk = run.folder / "work/demo/alpha/001.zip"
    metrics = run.folder / "results/demo/avatar/metrics.json"
    aside = [path.rename(path.with_suffix(".aside")) for path in (chunk, metrics)]
    try:
        planned = run.planned("demo")
    finally:
        aside[0].rename(chunk)
        aside[1].rename(metrics)
    assert planned["matte_chunk"] == planned["refine_track"] == planned["decide_cut"] == 1
    assert planned["parse_chunk"] == 2
    assert "crop_chunk" not in planned


def test_video_reruns_by_content_not_time_stamp(run: Checkout) -> None:
    """Its bytes count and its date does not, nor where a copy of it lies."""
    video, builtin = run.folder / "own.mp4", run.folder / "work/builtin/demo.mp4"
    shutil.copy(builtin, video)
    table = "subject\tvideo\thead\tpreset\nown\town.mp4\tprocedural\tpreview\n"
    work = "work/own/landmarks/000.npz"
    with changed(run.folder / "config/subjects.tsv", lambda _: table.encode()):
        result = run.snakemake(work)
        assert result.returncode == 0, result.stderr
        assert run.planned(work) == NOTHING
        video.touch()
        assert run.planned(work) == NOTHING
        data = bytearray(video.read_bytes())
        data[len(data) // 2] ^= 1
        date = video.stat().st_mtime_ns
        video.write_bytes(bytes(data))
        os.utime(video, ns=(date - 10**12, date - 10**12))  # older time stamp, same size
        assert run.planned(work) == {"probe_video": 1, "detect_chunk": 1}
