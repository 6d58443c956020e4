"""Storage providers: a run into another folder, and a planned run into an S3 bucket."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Checkout, copy_repository

pytest.importorskip("snakemake_storage_plugin_fs", reason="needs requirements-storage.txt")
pytest.importorskip("snakemake_storage_plugin_s3", reason="needs requirements-storage.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return copy_repository(tmp_path / "headsplat")


def snakemake(checkout: Checkout, *arguments: str) -> str:
    result = checkout.snakemake(*arguments)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout + result.stderr


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_outputs_in_another_folder_and_nothing_reruns(checkout, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    target = "work/demo/video.json"
    storage = ("--default-storage-provider", "fs", "--default-storage-prefix", str(elsewhere))
    snakemake(checkout, target, *storage)
    assert json.loads((elsewhere / target).read_text())["n_frames"] == 75
    assert not (checkout.folder / target).exists()
    assert "Nothing to be done" in snakemake(checkout, target, *storage)


class Bucket(BaseHTTPRequestHandler):
    """An empty S3 bucket: it exists and contains no object."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path.strip("/") == "bucket" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = (
            b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount>'
            b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_run_into_a_bucket_is_planned(checkout):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        sys.executable, "-m", "snakemake", "demo", "--configfile", "tiny.yaml", "--cores", "2",
        "--dry-run", "--default-storage-provider", "s3",
        "--default-storage-prefix", "s3://bucket/run",
        "--storage-s3-endpoint-url", f"http://127.0.0.1:{server.server_port}",
        "--storage-s3-access-key", "a", "--storage-s3-secret-key", "b",
    ]  # fmt: skip
    try:
        result = subprocess.run(
            command, cwd=checkout.folder, capture_output=True, text=True, timeout=300,
            env={**os.environ, "HEADSPLAT_EXT_DIR": str(ROOT / "work" / "cuda_ext")},
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-3000:]
    assert "s3://bucket/run/results/demo/avatar/model (send to storage)" in said
    assert any("results/demo" in path for path in Bucket.asked)
