"""A FlashAvatar checkpoint in the table of subjects: trained on, drawn as it is, or refused."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from headsplat.gaussians.anchors import texel_count
from headsplat.gaussians.deform.codes import condition_size
from headsplat.heads.model import HeadModel
from tests.unit import published_checkpoint as official

from .conftest import TINY, Checkout

UV = 32


def name_checkpoint(checkout: Checkout, column: str, model: str = "flashavatar") -> None:
    """A row whose `column` names chkpnt5000.pth, and a preset of the model."""
    header, row = "subject\tvideo\thead\tpreset\t", "demo\tbuiltin\tprocedural\tpreview\t"
    table = f"{header}{column}\n{row}theirs/chkpnt5000.pth\n"
    (checkout.folder / "config/subjects.tsv").write_text(table)
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"]["train"] |= {"model": model, "uv_size": UV, "steps": 2}
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))


def place_checkpoint(checkout: Checkout, count: int = 9, size: int = 9) -> None:
    (checkout.folder / "theirs").mkdir()
    value = official.aged(official.published(count, size))
    official.write(checkout.folder / "theirs/chkpnt5000.pth", value, on_gpu=True)


@pytest.fixture
def with_head(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished run with a checkpoint that fits its head."""
    folder = tmp_path / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    head = HeadModel.load(folder / "work/heads/procedural.npz")
    place_checkpoint(Checkout(folder), texel_count(head, UV), condition_size(head))
    return Checkout(folder)


@pytest.mark.parametrize(
    ("column", "planned"), [("checkpoint", "train_avatar"), ("avatar", "import_avatar")]
)
def test_the_column_says_what_is_done_with_it(
    checkout: Checkout, column: str, planned: str
) -> None:
    place_checkpoint(checkout)
    name_checkpoint(checkout, column)
    jobs = checkout.planned()
    assert {"train_avatar", "import_avatar"} & set(jobs) == {planned}
    assert jobs[planned] == jobs["evaluate_avatar"] == 1


def test_another_model_is_refused_before_the_first_job(checkout: Checkout) -> None:
    place_checkpoint(checkout)
    name_checkpoint(checkout, "checkpoint", model="blendshapes")
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    assert "subject 'demo': its checkpoint is FlashAvatar's, but train.model" in result.stderr


@pytest.mark.parametrize("column", ["checkpoint", "avatar"])
def test_a_file_that_is_not_there_is_named(checkout: Checkout, column: str) -> None:
    name_checkpoint(checkout, column)
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    assert "line 2: the checkpoint 'theirs/chkpnt5000.pth' of 'demo' is not there" in result.stderr


@pytest.mark.slow
def test_it_is_trained_on(with_head: Checkout) -> None:
    name_checkpoint(with_head, "checkpoint")
    result = with_head.snakemake("results/demo/avatar/model")
    assert result.returncode == 0, result.stdout + result.stderr
    model = with_head.folder / "results/demo/avatar/model"
    assert (model / "chkpnt5004.pth").is_file()
    assert json.loads((model / "training.json").read_text())["checkpoint"]["iteration"] == 5000


@pytest.mark.slow
def test_it_is_drawn_as_it_is(with_head: Checkout) -> None:
    name_checkpoint(with_head, "avatar")
    metrics = "results/demo/avatar/metrics.json"
    result = with_head.snakemake(metrics, "results/demo/avatar/report.html")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((with_head.folder / metrics).read_text())["psnr_head"] > 0
    assert (with_head.folder / "results/demo/avatar/model/chkpnt5000.pth").is_file()
