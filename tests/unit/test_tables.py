"""Reading of tables in the encodings and line ends of editors and spreadsheets, and errors."""

import codecs
import os
from pathlib import Path

import pytest

from headsplat_workflow.subjects import read_subjects

from headsplat.runtime.errors import LONGEST, UserError, shown
from headsplat.runtime.tables import LARGEST, read_rows

COLUMNS, OPTIONAL = ("subject", "video"), ("head", "note")
HEADER = "subject\tvideo\thead\n"


@pytest.fixture
def read(tmp_path: Path):
    """Cells by column of each row of a table, or the row's problem."""

    def rows(data: str | bytes) -> list:
        table = tmp_path / "table.tsv"
        table.write_bytes(data.encode() if isinstance(data, str) else data)
        return [
            row.problem or [row.cells[name] for name in ("subject", "video", "head")]
            for row in read_rows(table, COLUMNS, OPTIONAL)
        ]

    return rows


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + f"{HEADER}anna\ta.mp4\tict\n".encode(),
        f"{HEADER}anna\ta.mp4\tict\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + f"{HEADER}anna\ta.mp4\tict".encode("utf-16-be"),
        "subject\tvideo\thead\t\t\r\nanna\ta.mp4\tict\t\t\r\n\t\t\t\t\r\n",
        "subject\tvideo\thead\ranna\ta.mp4\tict\r",
        f'"# people of May, 2026"\t\t\n{HEADER}\n# said "so\n"anna"\t"a.mp4" \tict',
        "head\tsubject\tvideo\nict\t anna \ta.mp4\n",
    ],
)
def test_what_spreadsheets_save_reads_like_the_plain_table(read, data):
    assert read(data) == [["anna", "a.mp4", "ict"]]


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x0bb", "a\x0cb", "a,b;c", 'don\'t "x"'])
def test_unicode_separators_do_not_end_lines(read, name):
    assert read(f"{HEADER}anna\t{name}\tict\nbob\tb\t\n") == [
        ["anna", name, "ict"],
        ["bob", "b", ""],
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\tb", 'a"b', "a\r\nb"])
def test_quoted_cells_may_contain_tabs_and_line_breaks(read, name):
    cell = name.replace('"', '""')
    assert read(f'{HEADER}anna\t"{cell}"\tict\nbob\tb\n') == [
        ["anna", name, "ict"],
        ["bob", "b", ""],
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b'anna\t"a.mp4\tict', "a cell with an opening '\"' alone; remove it"),
        (b'anna\t"a.mp4\tict\nbob\t"b.mp4"\tict', "a cell with an opening '\"' alone; remove it"),
        (b"anna\t" + b"v" * 200_000, "200000 characters under 'video', 4096 are the most"),
        (b"anna\ta\0.mp4", "a NUL character under 'video'; save the table as text"),
        (b"anna\t\xff.mp4", r"'\udcff.mp4' under 'video', which is not UTF-8; rename the file and "
         "save the table as UTF-8 text"),
        (b"anna\ta.mp4\tict\t\tmore", "5 cells under 3 columns"),
    ],
)  # fmt: skip
def test_a_bad_row_leaves_the_others(read, row, problem):
    rows = read(HEADER.encode() + row + b"\ncarl\tc.mp4\t\n")
    assert rows[0] == problem
    assert rows[-1] == ["carl", "c.mp4", ""]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("subject,video,head", "its cells are separated by commas; save it with tabs between them"),
        ('"subject";"video"', "its cells are separated by semicolons; save it with tabs"),
        ("subject video head", "its cells are separated by spaces"),
        ("subject\tvideo\tvideo", "the column 'video' is there twice; remove one"),
        ("subject\t\tvideo", "unknown column ''"),
        ("subject\tvideo\t" + "x\x1b" * 5000, r"unknown column 'x\\x1bx"),
        ('subject\t"video', "the header line has a cell with an opening"),
        ("s\0u\0b\0", "it holds NUL characters"),
        ("subject", "the column 'video' is missing"),
    ],
)
def test_a_bad_header_is_one_short_line(read, header, message):
    with pytest.raises(UserError, match=message) as caught:
        read(header + "\nanna\ta.mp4\n")
    assert str(caught.value).isprintable()
    assert len(str(caught.value).partition("table.tsv")[2]) < 200


def test_files_that_are_not_tables_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    (tmp_path / "huge.tsv").touch()
    os.truncate(tmp_path / "huge.tsv", LARGEST + 1)
    for path, message in (
        ("pipe.tsv", "not a regular file"), ("huge.tsv", "more than 8 MiB"),
        (".", "cannot be read"), ("none.tsv", "create it"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            list(read_rows(tmp_path / path, COLUMNS, ()))


def test_shown_text_is_short_and_on_one_line():
    assert shown("don't (1).mp4") == "don't (1).mp4"
    assert shown("a\nb\x1b[31m\u2028") == r"a\nb\x1b[31m\u2028"
    assert shown("v" * 5000) == "v" * LONGEST + "..."
    assert len(shown("\x1b" * 90)) == LONGEST + 3


TABLE = "subject\tvideo\thead\tpreset\tintrinsics\tcheckpoint\tidentity\n"


@pytest.fixture
def subjects(tmp_path, monkeypatch):
    """A table of subjects with a valid row before and after the given ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a {b} $(c).mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")

    def table(rows: bytes):
        good = b"%s\ta {b} $(c).mp4\tict\tstandard\t900,900.5,1e3,500\n"
        path = Path("subjects.tsv")
        path.write_bytes(TABLE.encode() + good % b"first" + rows + b"\n" + good % b"last")
        return read_subjects(path, {"standard": {}})

    return table


@pytest.mark.parametrize(
    ("row", "name", "message"),
    [
        (b"me\tfolder.mp4", "me", "the video 'folder.mp4' of 'me' is a folder, not a file"),
        (b"me\tlink.mp4", "me", "the video 'link.mp4' of 'me' is a broken link"),
        (b"me\tpipe.mp4", "me", "the video 'pipe.mp4' of 'me' is not a regular file"),
        (b"me\t" + b"v" * 300, "me", "' of 'me' cannot be used (File name too long)"),
        (b"me\t\xff.mp4", "me", r"subject 'me' has '\udcff.mp4' under 'video', which is not UTF-8"),
        (b"me\tbuiltin\tsmpl", "me", "unknown head 'smpl'; one of"),
        (b"me\tbuiltin\t\tfast", "me", "unknown preset 'fast'; one of standard"),
        (b"m" * 300 + b"\tbuiltin", "line-3", "mmm...' is no subject name"),
        (b"\tbuiltin", "line-3", "'' is no subject name"),
        (b"y" * 60 + b"\tbuiltin", "line-3", "because it ends with 20 repetitions"),
        (b"me\tbuiltin\t\t\t$(touch x),1,2,3", "me", "'intrinsics' of 'me' is '$(touch x),1,2,3'"),
        (b"me\tbuiltin\t\t\t900,900,nan,500", "me", "expected fx,fy,cx,cy"),
        (b"me\tbuiltin\t\t\t900,900,-5,500", "me", "expected fx,fy,cx,cy"),
        (b"me\tbuiltin\t\t\t900,900,500", "me", "expected fx,fy,cx,cy"),
        (b"me\tbuiltin\t\t\t\tnone.pth", "me", "the checkpoint 'none.pth' of 'me' is not there"),
        (b"me\tbuiltin\t\t\t\t\tfolder.mp4", "me", "the identity code 'folder.mp4' of 'me' is a f"),
        (b"me\tbuiltin\nme\tbuiltin", "me", "line 4: the subject 'me' is listed twice"),
    ],
)
def test_a_subject_that_cannot_be_used_is_set_aside(subjects, row, name, message):
    table = subjects(row)
    assert list(table) == ["first", "last"]
    assert list(table.refused) == [name]
    line = table.refused[name]
    assert line.startswith("subjects.tsv line ")
    assert message in line
    assert line.isprintable()
    assert len(line) < 300
    with pytest.raises(UserError, match="subjects.tsv line "):
        table[name]


def test_a_table_whose_name_has_a_nul_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_subjects(Path("a\0b.tsv"), {"standard": {}})
