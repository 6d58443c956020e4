"""The examples of docs/extending.md: each plug-in is one module and one registry line."""

import ast
import csv
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from headsplat_workflow import codehash, stages
from headsplat_workflow.codehash import ROOT
from headsplat_workflow.config import validate
from headsplat_workflow.motions import read_motions
from headsplat_workflow.sections import schema
from headsplat_workflow.subjects import read_subjects

import build_head
import drive_avatar
import import_track
import matte_chunk
import speak_motion
import train_avatar
from headsplat.avatar_files import load_avatar
from headsplat.drive import kinds
from headsplat.formats import registry as formats
from headsplat.frame_code import FrameCode
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.gaussians.deform import registry as models
from headsplat.heads import registry as heads
from headsplat.heads.model import HeadModel
from headsplat.masks import matting_models, parsing_models
from headsplat.options import option, read_options
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, read_json
from headsplat.speech import voices
from headsplat.synthetic.score import write_wav
from headsplat.track import read_track
from tests.unit.driven import arkit_like, make_subject
from tests.unit.sphere_head import sphere_head
from tests.unit.tiny_clip import make_clip

TEXT = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"```python\n# ([^\n]*)\n(.*?)```", TEXT, re.DOTALL)
FILES = {path: code for path, code in BLOCKS if path.startswith("headsplat/")}
LINES = {title.split()[0]: code for title, code in BLOCKS if " in headsplat/" in title}
TABLES = {
    "MODELS": models, "HEADS": heads, "KINDS": kinds, "FORMATS": formats,
    "MATTING_MODELS": matting_models, "PARSING_MODELS": parsing_models, "VOICES": voices,
}  # fmt: skip


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make every module of the page importable and add its line to the table."""
    for path, code in FILES.items():
        file = tmp_path / "added" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        package = importlib.import_module(".".join(Path(path).parent.parts))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(file.parent)])
        monkeypatch.delitem(sys.modules, path[:-3].replace("/", "."), raising=False)
    importlib.invalidate_caches()
    for table, line in LINES.items():
        module = TABLES[table]
        entry = eval(f"{{{line}}}", dict(vars(module)))
        assert len(entry) == 1
        monkeypatch.setattr(
            getattr(module, table), "entries", getattr(module, table).entries | entry
        )
    read_options.cache_clear()
    yield
    read_options.cache_clear()
    for path in FILES:
        sys.modules.pop(path[:-3].replace("/", "."), None)


def test_the_page_shows_one_module_and_one_line_of_each():
    # The page describes a parsing network in one sentence, without code.
    assert LINES.keys() == TABLES.keys() - {"PARSING_MODELS"}
    for table, line in LINES.items():
        assert len(line.strip().splitlines()) == 1, table
        target = re.search(r'"(headsplat[\w.]+):(\w+)"', line)
        code = FILES[target[1].replace(".", "/") + ".py"]
        assert target[2] in {getattr(node, "name", None) for node in ast.parse(code).body}
        source = Path(TABLES[table].__file__)
        assert f"{table}: Registry" in source.read_text()
        assert f"# {table} in {source.relative_to(ROOT)}\n" in TEXT


def test_a_deformation_model_trains_is_saved_and_drawn(installed, tmp_path):
    clip = make_clip(tmp_path)
    out = tmp_path / "model"
    train_avatar.main([
        *clip.arguments(), "--scratch", str(tmp_path / "scratch"), "--out", str(out),
        "--device=cpu", "--model=dots", "--dots=300", "--batch=2", "--steps=10", "--seed=1",
    ])  # fmt: skip
    facts = read_json(out / "training.json")
    assert (facts["model"], facts["steps"], facts["options"]["dots"]) == ("dots", 10, 300)
    assert set(facts["losses"]) == {"total", "huber", "size"}
    assert facts["losses"]["huber"][-1][1] < facts["losses"]["huber"][0][1]
    head = HeadModel.load(clip.head)
    avatar, track = load_avatar(out, head, "cpu"), read_track(clip.track, head)
    image = avatar.render(track[track.rows([1])])
    assert len(avatar.anchors) == pytest.approx(300, abs=30)
    assert image.shape == (1, track.height, track.width, 3)
    assert image.min() < 0.9, "nothing is drawn on white"


def test_the_configuration_knows_the_models_and_their_options(installed):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    train = schema()["$defs"]["train"]["properties"]
    assert "dots" in train["model"]["enum"]
    assert train["dots"]["maximum"] == 100000
    config["train"] |= {"model": "dots", "dots": 500}
    config["matte"]["model"] = "bright"
    validate(config, "config.yaml")
    config["train"]["dots"] = 5
    with pytest.raises(UserError, match=r"train\.dots: 5 is less than the minimum of 100"):
        validate(config, "config.yaml")
    config["train"] = {"model": "dot"}
    with pytest.raises(UserError, match=r"train\.model: 'dot' is not one of .*'dots'"):
        validate(config, "config.yaml")


def test_a_penalty_that_is_not_declared_is_an_error(installed, tmp_path, monkeypatch):
    dots = importlib.import_module("headsplat.gaussians.deform.dots").Dots
    monkeypatch.setattr(dots, "penalties", ("sizes",))
    clip = make_clip(tmp_path)
    arguments = [
        *clip.arguments(), "--scratch", str(tmp_path / "scratch"), "--out", str(tmp_path / "m"),
        "--device=cpu", "--model=dots", "--dots=300", "--batch=2", "--steps=10",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="penalties .*size.*, declared .*sizes"):
        train_avatar.main(arguments)
    monkeypatch.setattr(dots, "penalties", ("huber",))
    with pytest.raises(TypeError, match="repeat a name"):
        train_avatar.main(arguments)
    assert not (tmp_path / "m").exists()


def test_a_head_model_is_built_and_passes_its_checks(installed, tmp_path):
    out = tmp_path / "wide.npz"
    build_head.main(["--head=wide", f"--out={out}"])
    head = HeadModel.load(out)
    assert head.name == "wide"
    for words, match in (
        (["--head=os:system"], "head 'os:system': one of procedural, ict, flame, wide"),
        (["--head=wid"], "head 'wid': did you mean 'wide'"),
        (["--head=ict"], "--head ict: is made of ict, in this order; pass --file"),
        (["--head=wide", "--file=ict=x"], "--head wide: is made of no file"),
    ):
        with pytest.raises(UserError, match=match):
            build_head.main([*words, f"--out={tmp_path / 'other.npz'}"])
    table = tmp_path / "subjects.tsv"
    (tmp_path / "a.mp4").write_bytes(b"x" * 100)
    table.write_text(f"subject\tvideo\thead\tpreset\na\t{tmp_path}/a.mp4\twide\tfast\n")
    assert read_subjects(table, {"fast": {}})["a"].head == "wide"


def test_a_motion_kind_drives(installed, tmp_path):
    subject = make_subject(
        tmp_path / "avatar", tmp_path / "head.npz", tmp_path / "track.npz", arkit_like()
    )
    (tmp_path / "nods.csv").write_text("seconds,degrees\n0,0\n0.2,4\n0.4,0\n")
    (tmp_path / "motions.tsv").write_text(f"name\tkind\tfile\nyes\tnods\t{tmp_path}/nods.csv\n")
    row = read_motions(tmp_path / "motions.tsv", ())["yes"]
    out = tmp_path / "yes.mp4"
    drive_avatar.main([
        *subject.arguments(), f"--motion={row.file}", f"--kind={row.kind}",
        f"--scratch={tmp_path / 's'}", f"--out={out}",
    ])  # fmt: skip
    assert out.stat().st_size > 1000


def test_a_voice_speaks(installed, tmp_path):
    subject = make_subject(
        tmp_path / "avatar", tmp_path / "head.npz", tmp_path / "track.npz", arkit_like()
    )
    sound = 0.3 * np.sin(np.arange(16_000)) * (np.arange(16_000) < 8000)
    write_wav(tmp_path / "a.wav", sound, 16_000)
    speak_motion.main([
        f"--head={subject.head}", f"--track={subject.track}", f"--sound={tmp_path / 'a.wav'}",
        "--voice=hum", f"--codes-out={tmp_path / 'c.npz'}", f"--out={tmp_path / 'm.npz'}",
    ])  # fmt: skip
    condition = FrameCode(torch.from_numpy(np.load(tmp_path / "m.npz")["condition"]))
    jaw = axis_angle_from_matrix(matrix_from_6d(condition.jaw))[:, 0]
    assert jaw.shape == (25,)
    assert jaw[3:10].min() > 0.25
    assert jaw[-8:].max() < 0.01


def test_a_format_is_imported(installed, tmp_path):
    folder, count, head = tmp_path / "clip", 4, sphere_head()
    (folder / "images").mkdir(parents=True)
    for number in range(1, count + 1):
        image = np.full((32, 32, 3), 40 * number, np.uint8)
        (folder / f"images/{number:05d}.png").write_bytes(encode_png(image))
    np.savez(
        folder / "clip.npz", shape=np.zeros(2), exp=np.zeros((count, 3)), jaw=np.zeros((count, 3)),
        R=np.tile(np.diag([1.0, -1, -1]), (count, 1, 1)), t=np.tile([0, 0, 0.8], (count, 1)),
        K=np.array([[80.0, 0, 16], [0, 80, 16], [0, 0, 1]]),
    )  # fmt: skip
    head.save(tmp_path / "head.npz")
    names = {
        "record": "import.json", "track": "track.npz", "identity": "identity.npy",
        "crop": "crop.json", "frames": "frames.tsv", "info": "video.json",
        "landmarks": "landmarks.npz",
    }  # fmt: skip
    import_track.main([
        "--kind=plain", f"--folder={folder}", f"--head={tmp_path / 'head.npz'}", "--size=32",
        *(f"--{flag}={tmp_path / name}" for flag, name in names.items()),
    ])  # fmt: skip
    track = read_track(tmp_path / "track.npz")
    assert track.ids.tolist() == [1, 2, 3, 4]
    assert track.t[:, 2].tolist() == pytest.approx([0.8] * count)
    rule = re.search(r"\n# at the end of (rules/\S+)\n(rule export_\w+:.*?)```", TEXT, re.DOTALL)
    assert rule
    assert (ROOT / rule[1]).is_file()
    line = re.search(r"# _ON_DEMAND in \S+/stages.py\n(.*?)\n", TEXT)
    assert line
    stage = eval(line[1], {"Stage": stages.Stage})
    assert f"rule {stage.rule}:" in rule[2]
    assert f'"{stage.output}"' in rule[2]
    export = importlib.import_module("headsplat.formats.camera_path").export_camera_path
    export(tmp_path / "track.npz", tmp_path / "path.csv")
    rows = list(csv.DictReader((tmp_path / "path.csv").open()))
    assert [float(row["z"]) for row in rows] == pytest.approx([0.8] * count)


def test_a_matting_model_runs(installed, tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:24, 8:24] = 200
    with publish(tmp_path / "000.zip") as path, FrameZipWriter(path, ".png") as pack:
        pack.add(1, encode_png(image))
    out = tmp_path / "alpha.zip"
    matte_chunk.main([
        f"--frames={tmp_path / '000.zip'}", "--chunk=000", "--model=bright", f"--out={out}"
    ])  # fmt: skip
    with FrameStore([out]) as mattes:
        assert (decode_image(mattes.read(1)) == np.where(image[..., 0] > 0, 255, 0)).all()


def test_an_option_is_one_line():
    (line,) = [code for title, code in BLOCKS if title == "a field of TrainOptions"]
    field = ast.parse(line).body[0]
    made = eval(compile(ast.Expression(field.value), "page", "eval"), {"option": option})
    assert (made.default, made.metadata["limits"]) == (0.0, {"minimum": 0, "maximum": 10})


@pytest.mark.parametrize("table", TABLES)
def test_unknown_names_are_errors_and_every_entry_exists(table):
    registry = getattr(TABLES[table], table)
    with pytest.raises(UserError, match="'no_such': one of "):
        registry["no_such"]
    first = next(iter(registry))
    with pytest.raises(UserError, match=f"did you mean '{first}'"):
        registry[first + "x"]
    for entry in registry.values():
        assert callable(entry.load())


def test_tables_are_read_without_torch():
    modules = [module.__name__ for module in TABLES.values()]
    modules += [
        "headsplat.train.options",
        "headsplat_workflow.config",
        "headsplat_workflow.motions",
    ]
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow_scripts")!r})
import importlib
for name in {modules}: importlib.import_module(name)
from headsplat_workflow.sections import schema
schema()
assert not {{"torch", "cv2", "mediapipe"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_stage_reruns_when_a_module_of_its_table_changes(tmp_path, monkeypatch):
    def version(**options) -> str:
        codehash.code_version.cache_clear()
        monkeypatch.setattr(codehash, "_sources", {})
        return codehash.code_version(**options)

    shutil.copytree(ROOT / "headsplat", tmp_path / "headsplat")
    monkeypatch.setattr(codehash, "PACKAGES", codehash.PACKAGES | {"headsplat": tmp_path})
    codehash._module_file.cache_clear()
    head = {"script": "build_head", "modules": (heads.HEADS["ict"].module,)}
    before = [version(script="drive_avatar"), version(**head)]
    for path in ("gaussians/deform/flashavatar.py", "drive/diffposetalk.py"):
        with (tmp_path / "headsplat" / path).open("a") as file:
            file.write("ADDED = 1\n")
        after = [version(script="drive_avatar"), version(**head)]
        assert (after[0] != before[0], after[1] == before[1]) == (True, True)
        before = after
    with (tmp_path / "headsplat/heads/ict/build.py").open("a") as file:
        file.write("ADDED = 1\n")
    assert version(**head) != before[1]
    codehash.code_version.cache_clear()
    codehash._module_file.cache_clear()
