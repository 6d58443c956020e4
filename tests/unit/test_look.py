"""Background and body of driven videos as text from users."""

import numpy as np
import pytest
from PIL import Image

from headsplat.drive.backdrop import read_backdrop
from headsplat.drive.look import ClipFiles, Look
from headsplat.runtime.errors import UserError
from headsplat.video.formats import suffix_of


@pytest.mark.parametrize(
    ("look", "out", "background"),
    [
        (Look(), "a.mp4", "white"),
        (Look(), "a.b.MOV", "transparent"),
        (Look(), "a.png.zip", "transparent"),
        (Look(body="paste"), "a.mp4", "auto"),
        (Look("own"), "a.webm", "own"),
        (Look("transparent", "paste"), "a.webm", "transparent"),
        (Look("own", "paste", 7), "a.mp4", "own"),
    ],
)
def test_auto_depends_on_the_format(look, out, background):
    assert look.resolved(out).background == background


def test_colors_and_files_are_told_apart():
    assert Look("#0080fF").color == (0, 128 / 255, 1)
    assert Look("white").color == (1, 1, 1)
    assert (Look("room.png").image, Look("room.png").color) == ("room.png", None)
    assert [Look(text).image for text in ("auto", "own", "transparent", "#000000")] == [""] * 4
    assert [Look(b, c).needs_plate for b, c in (("own", "head"), ("auto", "paste"))] == [True] * 2
    assert not Look("room.png", "torso").needs_plate


@pytest.mark.parametrize(
    ("look", "out", "expected"),
    [
        (Look("transparent"), "a.mp4", r"\.mp4 has no alpha channel; ask for \.mov, \.webm"),
        (Look("#12345"), "a.mp4", "background '#12345': use auto, white"),
        (Look("#" + "\n" * 9), "a.mp4", "background '#"),
        (Look("#١٢٣٤٥٦"), "a.mp4", "use auto, white"),
        (Look(""), "a.mp4", "background '': use"),
        (Look("a\0b"), "a.mp4", "background 'a"),
        (Look(body="legs"), "a.mp4", "body 'legs': use one of auto, head, torso, paste"),
        (Look(still_frame=3), "a.mp4", "still_frame 3: needs body paste, not auto"),
        (Look(body="paste", still_frame=-1), "a.mp4", "still_frame -1: use an id"),
        (Look(), "a.gif", r"a\.gif: cannot be written as a video; end its name in \.mp4"),
        (Look(), ".mp4", "cannot be written as a video"),
    ],
)
def test_what_cannot_be_shown_is_one_line(look, out, expected):
    with pytest.raises(UserError, match=expected) as error:
        look.resolved(out)
    assert "\n" not in str(error.value)


def test_files_of_the_clip_are_required():
    with pytest.raises(UserError, match="background own with body auto .* --clip work/<subject>"):
        ClipFiles().require(Look("own"))
    with pytest.raises(UserError, match="body paste needs the subject's clip"):
        ClipFiles("plate.png", ["a"], ["b"]).require(Look(body="paste"))
    ClipFiles().require(Look("#000000"))


def test_suffixes():
    assert [suffix_of(f"x/{n}") for n in ("a.mp4", "a.png.zip")] == [".mp4", ".png.zip"]
    with pytest.raises(UserError, match="cannot be written"):
        suffix_of("a.zip")


def test_backgrounds_are_upright_and_over_white(tmp_path):
    sideways = Image.new("RGB", (40, 20), "blue")
    sideways.paste("red", (0, 0, 20, 20))
    turned = Image.Exif()
    turned[0x112] = 6  # to be turned by a quarter, clockwise
    sideways.save(tmp_path / "a.png", exif=turned)
    upright = read_backdrop(tmp_path / "a.png", (20, 40)).numpy()
    np.testing.assert_array_equal(upright[[0, -1], 5], [[1, 0, 0], [0, 0, 1]])
    Image.new("RGBA", (20, 20), (255, 0, 0, 51)).save(tmp_path / "b.png")
    over = read_backdrop(tmp_path / "b.png", (8, 8)).numpy()
    np.testing.assert_allclose(over[4, 4], [1, 0.8, 0.8], atol=0.005)
