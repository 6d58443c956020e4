"""Export targets plan their rule, and run as a user types them."""

import shutil

import pytest

from .conftest import Checkout

TARGETS = (
    "vhap", "imavatar", "flame", "arkit.csv", "ply/neutral.ply", "ply/12.ply", "web/demo.html",
)  # fmt: skip


def test_each_export_target_plans_its_rule(checkout: Checkout) -> None:
    jobs = checkout.planned(*(f"results/demo/export/{target}" for target in TARGETS))
    names = (
        "export_vhap", "export_imavatar", "export_flame_parameters", "export_arkit", "export_web",
    )  # fmt: skip
    assert {name: jobs[name] for name in names} == dict.fromkeys(names, 1)
    assert jobs["export_ply"] == 2
    assert jobs["train_avatar"] == 1
    assert "evaluate_avatar" not in jobs


@pytest.mark.slow
def test_ply_is_exported_and_unsupported_head_is_an_error(finished: Checkout, tmp_path) -> None:
    folder = tmp_path / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    copy = Checkout(folder)
    clouds = [f"results/demo/export/ply/{pose}.ply" for pose in ("neutral", "12")]
    result = copy.snakemake(*clouds)
    assert result.returncode == 0, result.stdout + result.stderr
    for cloud in clouds:
        assert (folder / cloud).read_bytes().startswith(b"ply\n")
    result = copy.snakemake("results/demo/export/vhap")
    assert result.returncode != 0
    log = (folder / "logs/demo/export_vhap.log").read_text().splitlines()
    assert log[-1].startswith("error: VHAP's layout holds FLAME's parameters")
    assert not any("Traceback" in line for line in log)
