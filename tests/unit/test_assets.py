"""Assets: found under their names, checked, recorded, listed; wrong ones are one line each."""

import io
import zipfile
from pathlib import Path

import pytest

from headsplat_workflow.assets.catalogue import CATALOGUE, Asset
from headsplat_workflow.assets.check import check_assets, verify_used
from headsplat_workflow.assets.locate import locate, unpacked
from headsplat_workflow.assets.needs import Assets, Need, as_flags, parse
from headsplat_workflow.assets.verify import HashRecord, signature_problem
from headsplat_workflow.subjects import Subject

from headsplat.heads.registry import HEADS
from headsplat.runtime.errors import UserError
from headsplat.runtime.fingerprint import file_digest

EMPTY = {"rvm": None, "bisenet": None, "mica": None}


def a_zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), data)
    return buffer.getvalue()


@pytest.mark.parametrize("asset", CATALOGUE.values(), ids=CATALOGUE)
def test_the_catalogue_is_whole(asset: Asset):
    assert asset.what
    assert asset.licence
    assert asset.page.startswith("https://")
    assert all(url.startswith("https://") for url in asset.urls.values())
    fetched = set(asset.names) | set(asset.archives)
    assert set(asset.urls) <= fetched
    assert set(asset.hashes) <= fetched
    assert all(set(h) <= set("0123456789abcdef") for h in asset.hashes.values())


def test_accepted_names_in_order_and_the_configured_path(tmp_path):
    assert locate("bisenet", tmp_path) is None
    (tmp_path / "face_parsing.onnx").write_bytes(b"x")
    assert locate("bisenet", tmp_path) == tmp_path / "face_parsing.onnx"
    (tmp_path / "79999_iter.pth").write_bytes(b"x")
    assert locate("bisenet", tmp_path) == tmp_path / "79999_iter.pth"
    assert locate("bisenet", tmp_path, str(tmp_path / "mine.pth")) is None


def test_a_file_inside_the_sites_zip(tmp_path):
    archive = tmp_path / "FLAME2020.zip"
    archive.write_bytes(a_zip(readme_pkl=b"no", FLAME2020__generic_model_pkl=b"the model"))
    assert locate("flame_model", tmp_path) == archive
    with unpacked(archive, "flame_model") as path:
        assert path.name == "generic_model.pkl"
        assert path.read_bytes() == b"the model"
    assert not path.exists()
    plain = tmp_path / "generic_model.pkl"
    plain.write_bytes(b"mine")
    assert locate("flame_model", tmp_path) == plain
    with unpacked(plain, "flame_model") as path:
        assert path == plain
    archive.write_bytes(a_zip(other_pkl=b"no"))
    with pytest.raises(UserError, match=r"FLAME2020.zip: holds none of generic_model.pkl"):
        unpacked(archive, "flame_model").__enter__()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.onnx",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "git-lfs pointer",
        ),
        ("a.pth", b"\n<!DOCTYPE HTML><html>", "web page"),
        ("a.onnx", b"<html><body>", "web page"),
        ("a.pkl", b"", "is empty"),
        ("a.pth", b"hello", "does not begin as a .pth file does"),
        ("a.task", a_zip(x=b"1")[:-10], "truncated archive"),
        ("a.onnx", b"\x08\x07", None),
        ("a.zip", a_zip(x=b"1"), None),
        ("a.pth", b"\x80\x02\x8a", None),
    ],
    ids=lambda value: value if isinstance(value, str | None) else f"{len(value)} bytes",
)
def test_a_glance(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    found = signature_problem(path)
    assert found is None if words is None else words in found
    assert signature_problem(tmp_path) is None


def test_first_use_is_recorded_and_a_change_is_noticed(tmp_path):
    path, record = tmp_path / "mica.tar", tmp_path / "work/assets.json"
    path.write_bytes(b"\x80first")
    need = Need("mica", path, True)
    verify_used([need], record)
    assert file_digest(path) in record.read_text()
    before = record.stat().st_mtime_ns
    verify_used([need], record)
    assert record.stat().st_mtime_ns == before
    path.write_bytes(b"\x80second")
    with pytest.raises(
        UserError, match=r"mica.tar: has SHA-256 .* when first used on 20"
    ) as caught:
        verify_used([need], record)
    assert str(record) in str(caught.value)
    record.unlink()
    verify_used([need], record)


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"abc")
    record = HashRecord(tmp_path / "record.json")
    assert record.problem(path, None) is None
    record.save()
    monkeypatch.setattr(
        "headsplat_workflow.assets.verify.file_digest", lambda _: pytest.fail("read again")
    )
    again = HashRecord(tmp_path / "record.json")
    assert again.problem(path, None) is None
    assert "published file 0000" in again.problem(path, "0000")


def test_a_broken_record_is_one_line(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(UserError, match=r"record.json: not a record of hashes"):
        HashRecord(tmp_path / "record.json")


def test_the_published_hash_counts(tmp_path):
    path = tmp_path / "79999_iter.pth"
    path.write_bytes(b"\x80\x02 not it")
    with pytest.raises(UserError, match=r"has SHA-256 .*published file 468e13ca13a9") as caught:
        verify_used([Need("bisenet", path, True)], tmp_path / "record.json")
    assert "https://github.com/zllrunning" in str(caught.value)


def configuration(folder: Path, networks=None, **models: str) -> Assets:
    config = {
        "heads": {"ict": str(folder / "ICT-FaceKit.tar.xz"), "flame": str(folder / "flame")},
        "networks": EMPTY | (networks or {}),
    }
    settings = {
        "matte": {"model": "auto"}, "parse": {"model": "auto"},
        "train": {"lpips_weight": 0},
    } | {section: {"model": model} for section, model in models.items()}  # fmt: skip
    subjects = {
        "anna": Subject("anna", head="ict"),
        "ben": Subject("ben", head="flame"),
        "cleo": Subject("cleo", head="flame", identity="code.npy"),
    }
    return Assets(config, subjects, lambda _, section: settings[section])


def test_what_a_configuration_needs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    needs = {need.key: need for need in configuration(tmp_path).all()}
    assert {key for key, need in needs.items() if need.required} == {
        "ict", *HEADS["flame"].assets
    }  # fmt: skip
    assert set(needs) - {"ict"} >= {"rvm", "bisenet", "mica"}
    assert needs["flame_model"].path == tmp_path / "flame/generic_model.pkl"
    assert str(needs["rvm"].path) == "assets/rvm_mobilenetv3_fp32.onnx"

    named = configuration(tmp_path, {"rvm": "my.onnx"}, parse="bisenet")
    needs = {need.key: need for need in named.all()}
    assert needs["rvm"].required
    assert str(needs["rvm"].path) == "my.onnx"
    assert needs["bisenet"].required


def test_auto_takes_the_network_where_its_file_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assets = configuration(tmp_path)
    assert assets.weights("anna", "matte") is None
    assert assets.identity_weights("ben") is None
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/rvm_resnet50.pth").write_bytes(b"\x80\x02")
    (tmp_path / "assets/mica.tar").write_bytes(b"\x80\x02")
    assert str(assets.weights("anna", "matte").path) == "assets/rvm_resnet50.pth"
    assert assets.weights("anna", "parse") is None
    assert str(assets.identity_weights("ben").path) == "assets/mica.tar"
    assert assets.identity_weights("anna") is None
    assert assets.identity_weights("cleo") is None
    assert configuration(tmp_path, matte="mediapipe").weights("anna", "matte") is None


def test_a_missing_network_that_was_asked_for_is_one_line_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        configuration(tmp_path, matte="rvm").weights("anna", "matte")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("assets/rvm_mobilenetv3_fp32.onnx: is missing; get it at https://")
    assert "GPL-3.0" in lines[0]
    assert "rvm_resnet50.pth" in lines[0]
    assert len(lines) == 1 + 1 + len(HEADS["flame"].assets)
    assert all(line.startswith("error: ") for line in lines[1:])
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/79999_iter.pth").write_text("<!DOCTYPE html>")
    with pytest.raises(UserError, match="79999_iter.pth: is a web page"):
        configuration(tmp_path).weights("anna", "parse")


def test_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg.pth").write_bytes(b"\x80\x02")
    needs = [
        Need("lpips_linear", Path("vgg.pth"), True),
        Need("rvm", Path("rvm_resnet50.pth"), False),
    ]
    text = check_assets(needs, Path("record.json"))
    assert [line.split()[:2] for line in text.splitlines()] == [
        ["asset", "state"], ["lpips_linear", "present"], ["rvm", "absent,"]
    ]  # fmt: skip
    needs.append(Need("mica", Path("mica.tar"), True))
    with pytest.raises(UserError, match="mica.tar: is missing"):
        check_assets(needs, Path("record.json"))
    assert "MISSING" in capsys.readouterr().out
    words = as_flags(needs)
    assert all(word.startswith(("--required=", "--optional=")) for word in words)
    required = [word.removeprefix("--required=") for word in words if word.startswith("--r")]
    assert parse(required, True) == needs[::2]
    with pytest.raises(UserError, match="'nothing=x': expected asset=path"):
        parse(["nothing=x"], True)
