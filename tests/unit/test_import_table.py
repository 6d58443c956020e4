"""The columns of an import in the table of subjects."""

from pathlib import Path

import pytest

from headsplat_workflow.subjects import Subject, read_subjects

from headsplat.runtime.errors import UserError

HEADER = "subject\tvideo\thead\tpreset\timport\tframe_delta\tflame_version\tidentity\n"
PRESETS = {"standard": {}}


@pytest.fixture
def row(tmp_path: Path):
    """Read a table of one row whose cells are given by name; `{folder}` is a folder that is."""
    folder = tmp_path / "tracked"
    folder.mkdir()

    def read(**cells: str) -> Subject:
        values = {"subject": "me", "video": "-", "head": "flame", **cells}
        names = HEADER.split()
        line = "\t".join(values.get(name, "").format(folder=folder) for name in names)
        (tmp_path / "subjects.tsv").write_text(HEADER + line + "\n")
        return read_subjects(tmp_path / "subjects.tsv", PRESETS)["me"]

    return read


def test_an_import_takes_the_place_of_the_video(row, tmp_path):
    for video in ("-", ""):
        read = row(**{"import": "vhap:{folder}", "video": video, "flame_version": "2023"})
        assert (read.kind, read.folder, read.video) == (
            "vhap", str(tmp_path / "tracked"), "",
        )  # fmt: skip
    read = row(**{"import": "metrical-tracker:{folder}", "video": "{folder}", "frame_delta": "-1"})
    assert (read.video, read.frame_delta) == (str(tmp_path / "tracked"), -1)


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ({"import": "vhapp:{folder}"}, "line 2: cannot import 'vhapp:.*did you mean 'vhap'"),
        ({"import": "{folder}"}, "cannot import '.*one of metrical-tracker, "),
        ({"import": "vhap:nowhere"}, "the folder 'nowhere' to import is not there"),
        ({"import": "vhap:"}, "the folder '' to import is not there"),
        ({"import": "vhap:{folder}", "video": "{folder}"}, "vhap brings its own images"),
        ({"import": "metrical-tracker:{folder}", "video": "a.mp4"}, "'a.mp4' is not there"),
        ({"import": "metrical-tracker:{folder}", "video": __file__}, "py' is not a folder"),
        ({"import": "vhap:{folder}", "frame_delta": "1"}, "vhap names its images"),
        ({"import": "flashavatar:{folder}", "frame_delta": "one"}, "'frame_delta' is 'one'"),
        ({"import": "vhap:{folder}", "flame_version": "2021"}, "'flame_version' is '2021'"),
        ({"import": "vhap:{folder}", "identity": "a.npy"}, "'identity' comes with the import"),
        ({"video": "builtin", "frame_delta": "1"}, "'frame_delta' is only for rows with"),
        ({"video": "-"}, "the video '-' of 'me' is not there"),
    ],
)
def test_a_bad_row_is_named(row, cells, match):
    with pytest.raises(UserError, match=match) as caught:
        row(**cells)
    assert "\n" not in str(caught.value)
