"""With several subjects, one fails, the others finish, and the summary says which and why."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from .conftest import TINY, Checkout
from .test_run import edited  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


def write_faceless_video(path: Path) -> None:
    """Write three seconds of a plain wall with a moving lamp."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for index in range(75):
            image = np.full((120, 160, 3), 90, np.uint8)
            image[20:40, index : index + 20] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def one_bad(edited: Checkout) -> Checkout:  # noqa: F811
    """The finished demo with its training to rerun, and a second subject without a face."""
    write_faceless_video(edited.folder / "wall.mp4")
    (edited.folder / "broken.mp4").write_bytes(b"not a video")
    with open(edited.folder / "config/subjects.tsv", "a") as table:
        table.write("wall\twall.mp4\tprocedural\tpreview\n")
        table.write("broken\tbroken.mp4\tprocedural\tpreview\n")
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"]["train"]["steps"] = 31
    (edited.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    return edited


def test_other_subjects_finish_and_summary_names_the_failed_one(one_bad: Checkout) -> None:
    result = one_bad.snakemake("all")
    assert result.returncode != 0
    training = one_bad.folder / "results/demo/avatar/model/training.json"
    assert json.loads(training.read_text())["steps"] == 31
    assert (one_bad.folder / "results/demo/avatar/report.html").is_file()

    lines = result.stderr.splitlines()
    done = next(i for i, line in enumerate(lines) if line.startswith("demo: done, PSNR "))
    end = "\n".join(lines[done:])
    assert "broken: FAILED in probe_video; 20 jobs after it did not start" in end
    assert "wall: FAILED in solve_crop" in end
    assert "    log: logs/wall/solve_crop.log" in end
    reason = (one_bad.folder / "logs/wall/solve_crop.log").read_text().splitlines()[-1]
    assert f"    {reason}" in end
    assert "face" in reason

    status = one_bad.snakemake("status", "-q", "all")
    assert status.returncode == 0, status.stderr
    table = status.stdout.splitlines()
    assert table[-1] == "3 subjects: 2 failed, 1 done"
    assert any(line.startswith("wall") and " failed " in line for line in table)
    assert f"  solve_crop 0/1 failed: {reason.removeprefix('error: ')}" in status.stdout
    assert next(line for line in table if line.startswith("demo")).split()[1] == "done"
