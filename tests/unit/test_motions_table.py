"""The table of motions: what a line may say, and what ends in one line."""

import re
from pathlib import Path

import pytest

from headsplat_workflow.motion_row import Motion
from headsplat_workflow.motions import add_spoken, motion_for, read_motions, require_torso
from headsplat_workflow.named_rows import NamedRows
from headsplat_workflow.sections import defaults
from headsplat_workflow.subjects import Subject

from headsplat.drive.kinds import MotionOptions
from headsplat.drive.look import Look
from headsplat.runtime.errors import UserError

HEADER = "name\tkind\tfile\taudio\thead_motion\tblinks\n"
FACE = "name\tkind\tfile\tface\tamplitude\tneutral\tsubject_neutral\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("speech.npz", "take.csv", "voice.wav", "their.npz"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder, text):
    (folder / "motions.tsv").write_text(text)
    return read_motions(folder / "motions.tsv", {"anna", "bob"})


def test_no_table_is_no_motion(folder):
    assert read_motions(folder / "motions.tsv", {"anna"}) == {}
    assert read(folder, HEADER) == {}


def test_lines_with_their_defaults(folder):
    motions = read(
        folder,
        HEADER + "# a remark\n\nbob\ttrack\tbob\nout\ttrack\ttheir.npz\t\tabsolute\n"
        "talk\tdiffposetalk\tspeech.npz\tvoice.wav\tstill\tno\nphone\tarkit\ttake.csv\n",
    )
    assert motions["bob"] == Motion("bob", "track", "work/bob/track/track.npz")
    assert motions["bob"].made
    assert motions["bob"].flags() == {
        "kind": "track", "head_motion": "relative", "blinks": "yes", "audio": "",
        "face": "relative", "amplitude": "driver", "neutral": "", "subject_neutral": "",
    }  # fmt: skip
    assert (motions["out"].file, motions["out"].options.head_motion) == ("their.npz", "absolute")
    assert not motions["out"].made
    talk = motions["talk"]
    assert (talk.audio, talk.options.head_motion, talk.flags()["blinks"]) == (
        "voice.wav",
        "still",
        "no",
    )
    assert list(motions) == ["bob", "out", "talk", "phone"]


def test_options_of_the_face(folder):
    motions = read(
        folder,
        FACE + "bob\ttrack\tbob\t\tsubject\t 7,12:14,7\t3\nout\ttrack\tbob\tabsolute\t\t\t\n"
        "phone\tarkit\ttake.csv\trelative\n",
    )
    assert motions["bob"].options == MotionOptions(
        amplitude="subject", neutral=(7, 12, 13, 14), subject_neutral=(3,)
    )
    assert motions["bob"].flags()["neutral"] == "7,12,13,14"
    assert motions["out"].options == MotionOptions(face="absolute")
    assert motions["phone"].options == MotionOptions()


LOOK = "name\tkind\tfile\tbackground\tbody\n"
STILL = "name\tkind\tfile\tbody\tstill_frame\n"


def test_a_rows_look_stands_in_place_of_the_sections(folder):
    (folder / "room.png").touch()
    motions = read(
        folder,
        LOOK + "a\ttrack\tbob\nb\ttrack\tbob\t#00ff00\tpaste\nc\ttrack\tbob\troom.png\t\n"
        "d\ttrack\tbob\ttransparent\thead\n",
    )
    section = {"background": "own", "body": "torso", "still_frame": 0}
    assert motions["a"].look(section, "a.mp4") == Look("own", "torso")
    assert motions["b"].look(section, "b.mp4") == Look("#00ff00", "paste")
    assert motions["c"].look(section, "c.mov") == Look("room.png", "torso")
    assert motions["d"].look(section, "d.webm") == Look("transparent", "head")
    with pytest.raises(UserError, match="transparent: .mp4 has no alpha channel"):
        motions["d"].look(section, "d.mp4")
    with pytest.raises(UserError, match=r"'gone.png' \(option drive.background\) is not.*use auto"):
        motions["a"].look(section | {"background": "gone.png"}, "a.mp4")


def test_a_still_frame_is_that_of_the_motions_with_paste(folder):
    cells = {"a": "paste\t12", "b": "\t", "c": "paste\t0", "d": "head\t"}
    rows = "".join(f"{name}\ttrack\tbob\t{cell}\n" for name, cell in cells.items())
    motions = read(folder, STILL + rows)
    section = {"background": "auto", "body": "paste", "still_frame": 7}
    stills = {name: motions[name].look(section, "a.mp4").still_frame for name in "abcd"}
    assert stills == {"a": 12, "b": 7, "c": 0, "d": 0}


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        (LOOK, "#12\t", "background '#12': use auto"),
        (LOOK, "gone.png\t", "the background 'gone.png' of 'a' is not there; use auto, white"),
        (LOOK, "\tlegs", "body 'legs': use one of auto, head, torso, paste"),
        (STILL, "paste\t-1", "still_frame is '-1', expected the id of a frame"),
        (STILL, "paste\t1e3", "still_frame is '1e3', expected"),
        (STILL, "paste\t٣", "still_frame is '"),
        (STILL, "paste\t999999999", "still_frame 999999999: use an id of the clip's frames"),
        (STILL, "torso\t3", "still_frame 3: needs body paste, not torso"),
    ],
)
def test_a_look_that_cannot_be_shown_refuses_its_row(folder, header, cells, expected):
    motions = read(folder, header + f"a\ttrack\tbob\t{cells}\nb\ttrack\tbob\n")
    assert f"line 2: {expected}" in motions.refused["a"]
    assert list(motions) == ["b"]


SPEECH = "name\tkind\tfile\taudio\tvoice\ttranscript\n"


@pytest.mark.parametrize("made", ["results/anna/driven/a.mp4", "work/anna/speech/a.npz"])
def test_a_row_that_needs_its_own_video_is_refused_alone(folder, made):
    path = folder / made
    path.parent.mkdir(parents=True)
    path.touch()
    rows = "name\tkind\tfile\taudio\tbackground\ngood\tspeech\tvoice.wav\t\t\n"
    for column, row in (
        ("background", f"track\tbob\t\t./{made}"),
        ("audio", f"track\tbob\t{path}\t"),
        ("file", f"speech\t{made}\t\t"),
    ):
        motions = read(folder, f"{rows}a\t{row}\n")
        assert list(motions) == ["good"]
        assert f"line 3: the {column} '" in motions.refused["a"]
        assert "is itself made of a row of this table; copy it elsewhere" in motions.refused["a"]


def test_a_torso_is_refused_before_an_avatar_without_one_is_trained():
    anna = Subject("anna", "a.mp4", "ict", "preview")
    for body, trained in (("torso", "torso"), ("auto", "none"), ("paste", "none")):
        require_torso(Look(body=body), anna, {"body": trained})
    with pytest.raises(UserError, match="train.body of preset preview is none; set it to torso"):
        require_torso(Look(body="torso"), anna, {"body": "none"})


def test_speech_names_a_sound_and_a_voice(folder):
    (folder / "words.txt").touch()
    motions = read(
        folder,
        SPEECH + "hello\tspeech\tvoice.wav\nown\tspeech\tbuiltin\t\tphones\n"
        "lent\tspeech\ttake.csv\tvoice.wav\tanna\twords.txt\n",
    )
    hello, own, lent = motions.values()
    assert (hello.file, hello.audio, hello.options.voice) == ("voice.wav", "voice.wav", "auto")
    assert hello.speech
    assert hello.flags()["kind"] == "motion"
    assert own.made
    flags = {"asked": "phones", "head_motion": "relative", "blinks": "yes"}
    assert own.voice_flags("phones", defaults()["speech"]) == flags | {"voice": "phones"}
    feeling = {"emotion": "joy", "emotion_strength": 0.5}
    assert own.voice_flags("audio2face", defaults()["speech"] | feeling) == (
        flags | {"voice": "audio2face"} | feeling
    )
    assert (lent.options.voice, lent.transcript, lent.audio) == ("anna", "words.txt", "voice.wav")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("x\tspeech\tno.wav\n", "the file 'no.wav' of 'x' is not there"),
        ("x\tspeech\tvoice.wav\t\talto\n", "voice 'alto': one of personal, phones, .*subject's"),
        ("x\tspeech\tvoice.wav\t\t\tno.txt\n", "the transcript 'no.txt' of 'x' is not there"),
        ("x\tarkit\ttake.csv\t\tphones\n", "arkit motions have no voice; leave 'voice' and"),
    ],
)
def test_bad_speech_is_one_line(folder, row, expected):
    assert re.search(expected, read(folder, SPEECH + row).refused["x"])


def test_one_sound_without_a_row(folder):
    motions = read(folder, HEADER)
    asked = {"subject": "anna", "sound": "voice.wav", "voice": "auto", "transcript": None}
    subjects = NamedRows(Path("subjects.tsv"))
    subjects["anna"] = None
    subjects.refuse("ben", "subjects.tsv line 3: the video is not there")
    assert add_spoken(motions, subjects, asked | {"sound": None}) is None
    assert add_spoken(motions, subjects, asked) == ("anna", "voice")
    assert motions["voice"].file == "voice.wav"
    with pytest.raises(UserError, match="speak.subject 'eve': no such subject; one of anna"):
        add_spoken(motions, subjects, asked | {"subject": "eve"})
    with pytest.raises(UserError, match="speak.subject: not given"):
        add_spoken(motions, subjects, asked | {"subject": None})
    with pytest.raises(UserError, match="speak.subject 'ben': subjects.tsv line 3: the video"):
        add_spoken(motions, subjects, asked | {"subject": "ben"})
    with pytest.raises(UserError, match="section speak: the file 'no.wav' of 'no' is not there"):
        add_spoken(motions, subjects, asked | {"sound": "no.wav"})


def test_three_columns_are_enough(folder):
    assert read(folder, "name\tkind\tfile\nphone\tarkit\ttake.csv\n")["phone"].audio == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the column 'name' is missing"),
        ("name\tkind\n", "the column 'file' is missing"),
        ("name\tkind\tfile\tsound\n", "unknown column 'sound'; known: name, kind, file, audio"),
    ],
)
def test_bad_tables_are_one_line(folder, text, expected):
    with pytest.raises(UserError, match=expected) as error:
        read(folder, text)
    assert str(error.value).startswith(str(folder / "motions.tsv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "a/b\tarkit\ttake.csv\n", "line 2: 'a/b' is no motion name"),
        (HEADER + "x\tarkit\tspeech.npz\n", "must end in .csv or .json for arkit"),
        (HEADER + "x\tbvh\ttake.csv\n", "unknown kind 'bvh'; one of track, diffposetalk, arkit"),
        (HEADER + "x\tarkit\tno.csv\n", "the file 'no.csv' of 'x' is not there"),
        (HEADER + "x\ttrack\teve\n", "'eve' of 'x' is not there; give a subject's name or a track"),
        (HEADER + "x\tarkit\tanna\n", "the file 'anna' of 'x' is not there"),
        (HEADER + "x\tarkit\ttake.csv\tno.wav\n", "the audio 'no.wav' of 'x' is not there"),
        (HEADER + "x\tarkit\ttake.csv\t\tfree\n", "unknown head_motion 'free'; one of relative"),
        (HEADER + "x\tarkit\ttake.csv\t\t\tno\n", "arkit motions have blinks of their own"),
        (HEADER + "x\tdiffposetalk\tspeech.npz\t\t\t2\n", "'blinks' is '2', expected yes or no"),
        (HEADER + "x\tarkit\ttake.csv\t\t\t\tmore\n", "7 cells under 6 columns"),
        (FACE + "x\ttrack\tbob\town\n", "unknown face 'own'; one of relative, absolute"),
        (FACE + "x\ttrack\tbob\t\tbig\n", "unknown amplitude 'big'; one of driver, subject"),
        (FACE + "x\ttrack\tbob\t\t\t0\n", "neutral '0' are no frame numbers, such as 12 or"),
        (FACE + "x\ttrack\tbob\t\t\t9:1\n", "neutral '9:1' are no frame numbers"),
        (FACE + "x\ttrack\tbob\t\t\t\t1;2\n", "subject_neutral '1;2' are no frame numbers"),
        (FACE + "x\ttrack\tbob\t\t\t1:9999999\n", "are more than 1000 frames; name fewer"),
        (FACE + "x\ttrack\tbob\t\t\t" + "9" * 4000 + "\n", r"'9{100}\.\.\.' are no frame numbers"),
        (FACE + "x\ttrack\tbob\tabsolute\t\t7\n", "leave 'neutral' empty or set 'face' to rela"),
        (FACE + "x\tdiffposetalk\tspeech.npz\trelative\n", "diffposetalk motions are not relat"),
        (HEADER + 2 * "x\tarkit\ttake.csv\n", "line 3: the motion 'x' is listed twice"),
    ],
)
def test_a_bad_row_is_one_line_and_leaves_the_others(folder, text, expected):
    motions = read(folder, f"{text}good\ttrack\tbob\n")
    (line,) = motions.refused.values()
    assert line.startswith(f"{folder}/motions.tsv line ")
    assert re.search(expected, line)
    assert "\n" not in line
    assert list(motions) == ["good"]
    (name,) = motions.refused
    with pytest.raises(UserError, match=expected):
        motion_for(motions, name, "ict")


def test_a_table_that_is_no_text(folder):
    (folder / "motions.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"motions\.tsv: cannot be read"):
        read_motions(folder / "motions.tsv", {"anna"})


def test_a_motion_for_a_subject(folder):
    motions = read(folder, HEADER + "talk\tdiffposetalk\tspeech.npz\nphone\tarkit\ttake.csv\n")
    assert motion_for(motions, "talk", "flame").kind == "diffposetalk"
    assert motion_for(motions, "phone", "procedural").kind == "arkit"
    with pytest.raises(UserError, match="no motion 'phones'; did you mean 'phone'"):
        motion_for(motions, "phones", "ict")
    with pytest.raises(UserError, match="no motion 'x'; add a line: name, kind, file"):
        motion_for(NamedRows(folder / "motions.tsv"), "x", "ict")
    with pytest.raises(UserError, match="for subjects whose head is flame; this one's is ict"):
        motion_for(motions, "talk", "ict")
    with pytest.raises(UserError, match="whose head is ict or procedural; this one's is flame"):
        motion_for(motions, "phone", "flame")
