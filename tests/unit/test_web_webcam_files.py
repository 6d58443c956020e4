"""Files for webcams that a page holds: only the known ones."""

import io
import tarfile
from importlib.resources import files

import pytest

from headsplat.networks.model_files import MODEL_FILES
from headsplat.runtime.errors import UserError
from headsplat.web.webcam_files import KNOWN, MODEL, PACKAGE, webcam_files


def archive(path, **members):
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"package/{name}.mjs")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


def test_the_page_knows_the_same_files():
    script = files("headsplat.web").joinpath("page/face_files.js").read_text()
    for name, digest in {**KNOWN, MODEL: MODEL_FILES[MODEL].sha256}.items():
        assert digest in script
        assert name.split("/")[-1] in script
    assert PACKAGE in script


@pytest.mark.parametrize("content", [b"", b"not a package", b"\x1f\x8b\x08\x00 cut"])
def test_a_damaged_package_is_one_line(tmp_path, content):
    path = tmp_path / PACKAGE
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{PACKAGE}: cannot be read .*npm pack") as caught:
        webcam_files(path)
    assert str(caught.value).isprintable()


def test_no_package_is_one_line(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        webcam_files(tmp_path / PACKAGE)


def test_another_version_is_refused(tmp_path):
    path = archive(tmp_path / PACKAGE, vision_bundle=b"alert(1)")
    with pytest.raises(UserError, match=r"its 'package/vision_bundle.mjs' is missing or another"):
        webcam_files(path)


def test_an_archive_that_grows_is_refused(tmp_path):
    path = archive(tmp_path / PACKAGE, zeros=bytes(100 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="over 96 MiB unpacked"):
        webcam_files(path)
