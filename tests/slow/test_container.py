"""The steps of Containerfile in a bare Debian, as root in a changed root: no builder is needed."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.test_container import CONTAINERFILE

BASE = re.compile(r"debian:(\w+)-slim AS cpu")
ROOM = 12 << 30  # bytes: PyTorch for CUDA, twice while it is installed


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root folder of the base image's release, with this machine's network settings."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("only root makes a bare Debian, with debootstrap (Debian: apt-get install it)")
    root = tmp_path_factory.mktemp("container") / "root"
    if shutil.disk_usage(root.parent).free < ROOM:
        pytest.skip(f"the disk of {root.parent} has less than {ROOM >> 30} GiB")
    (release,) = (found[1] for _, rest in CONTAINERFILE if (found := BASE.fullmatch(rest)))
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", release, root],
        capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"debootstrap reaches no mirror: {made.stdout.splitlines()[-1:]}")
    kept = ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt", "etc/xdg/pip/pip.conf")
    for name in kept:
        if Path("/", name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", name), root / name)
    yield root
    shutil.rmtree(root.parent)


def test_steps_of_the_containerfile_end_in_a_run(bare: Path) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment |= {key: text for key, text in os.environ.items() if key.startswith("PIP_")}
    folder = "/"
    start = max(at for at, (name, _) in enumerate(CONTAINERFILE) if name == "FROM")

    def run(command: list[str]) -> str:
        # A namespace of its own, so that what is mounted goes with the command.
        inside = f"mount -t proc proc {bare}/proc; mount --rbind /dev {bare}/dev; "
        for place in _folders_of_pip():
            inside += f"mkdir -p {bare}{place}; mount --bind {place} {bare}{place}; "
        inside += f"exec chroot {bare} sh -c {shlex.quote(f'cd {folder}; {shlex.join(command)}')}"
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", inside], env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout + result.stderr

    for name, rest in CONTAINERFILE[start + 1 :]:
        if name == "WORKDIR":
            folder = rest
        elif name == "COPY":
            assert rest == ". ."
            files = subprocess.run(
                ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            for file in files.stdout.split("\0")[:-1]:
                target = bare / folder.lstrip("/") / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, target, follow_symlinks=False)
        elif name == "RUN":
            run(["sh", "-c", rest])
        elif name == "ENV":
            key, _, text = rest.partition("=")
            environment[key] = text.replace("$PATH", environment["PATH"])
    # The demo itself at the size of the catalog's trial run: `make demo` takes minutes.
    said = run(["sh", "-c", "make setup && snakemake --directory .test --cores all"])
    assert "done" in said


def _folders_of_pip() -> list[str]:
    """Folders of this machine that pip's configuration names, such as a mirror on the disk."""
    said = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    words = re.findall(r"(?:file://)?(/[\w./-]+)", said.stdout)
    found = {Path(word) for word in words if Path(word).is_dir()}
    # The files of an index lie beside its pages.
    return sorted(str(path.parent if path.name == "simple" else path) for path in found)
