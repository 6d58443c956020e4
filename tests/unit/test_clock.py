"""Videos dated in the future are named before a run."""

import os
import time
from pathlib import Path

import pytest

from headsplat_workflow.clock import require_past

from headsplat.runtime.errors import UserError


def test_only_files_dated_in_the_future_are_refused(tmp_path: Path) -> None:
    video = tmp_path / "me.mp4"
    video.touch()
    require_past([video, tmp_path / "not there"])
    later = time.time() + 86400
    os.utime(video, (later, later))
    with pytest.raises(
        UserError, match=r"me.mp4: dated 20\d\d-.*in the future; .*'touch "
    ) as caught:
        require_past([video])
    assert "\n" not in str(caught.value)
