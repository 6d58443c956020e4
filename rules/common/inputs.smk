# Input functions: the files that a job reads. They are called once per job, so values that a
# subject's jobs share are cached.
import os
import sys
from collections import namedtuple
from functools import cache

USED_ASSETS = {}
# A motion of a subject, under the names of the wildcards of its driven video.
Played = namedtuple("Played", "subject motion")


def announced_refusal(wildcards):
    """Input function without files: prints the error line of a refused row when its job is planned."""
    REFUSALS.announce(wildcards.refused)
    return []


def user_file(path, subject):
    """Input: a file or folder of the subject's row; its name may contain braces. If it was removed
    after the table was read, only this subject fails."""
    if os.path.exists(path):
        return snakemake_patches.literal(path)
    line = f"{SUBJECTS.table}: '{shown(path)}' of '{subject}' is not there any more; put it back"
    return REFUSALS.file(refusals.SUBJECT, subject, line)


def row_file(column):
    """Optional input: the file in an optional column of the subject's row."""

    def file(wildcards):
        path = getattr(subject_of(wildcards.subject), column)
        return user_file(path, wildcards.subject) if path else []

    return file


def head_file(wildcards):
    """Input: the head model of the subject's row."""
    return f"work/heads/{subject_of(wildcards.subject).head}.npz"


def source_video(wildcards):
    """The subject's video; the built-in one is rendered by the workflow."""
    subject = subject_of(wildcards.subject)
    return BUILTIN_CLIP if subject.builtin else subject.video


def user_video(wildcards):
    """Input: the subject's video. A user's video reruns by its content (`video_content`), not by its
    modification time."""
    video = source_video(wildcards)
    return video if video == BUILTIN_CLIP else ancient(user_file(video, wildcards.subject))


def sound_source(wildcards):
    """Optional input: the video that provides the sound; imports have none."""
    return [] if subject_of(wildcards.subject).imported else user_video(wildcards)


def import_folders(wildcards):
    """Inputs of an import: its folder and the folders in it, so that new files are noticed."""
    subject = subject_of(wildcards.subject)
    named = [subject.folder, *([subject.video] if subject.video else [])]
    return [user_file(path, subject.name) for path in [*named, *folders_in(subject.folder)]]


def chunks(*stages):
    """Input function: all chunk files of some stages, each given as (folder, suffix), in order."""

    def files(wildcards):
        count = chunk_count(wildcards)
        return [
            f"work/{wildcards.subject}/{folder}/{chunk:03d}.{suffix}"
            for folder, suffix in stages
            for chunk in range(count)
        ]

    return files


def previous_and_this(wildcards):
    """Frames of the previous chunk, which warm up recurrent networks, and of this chunk."""
    chunk = int(wildcards.chunk)
    return [f"work/{wildcards.subject}/frames/{c:03d}.zip" for c in range(max(chunk - 1, 0), chunk + 1)]


def spread_chunks(wildcards):
    """Input function: frames of a few chunks, evenly spread over the clip: what shows its background."""
    files = chunks(("frames", "zip"))(wildcards)
    most = min(len(files), 6)  # so that a chunk's mattes wait for few others
    return [files[k * (len(files) - 1) // max(most - 1, 1)] for k in range(most)]


def asset_path(need):
    """Input: an asset's file; recorded, so that its hash is checked before the first job."""
    if need is None:
        return []
    USED_ASSETS[need.path] = need
    return [snakemake_patches.literal(str(need.path))]


def head_assets(wildcards):
    """Input function: asset key -> source file of a head model."""
    keys = HEADS[wildcards.head].assets
    return {key: asset_path(or_exit(ASSETS.required, key)) for key in keys}


def weights(section):
    """Input function: the weights of a stage's network, if it runs one. New weights rerun the stage."""
    of = cache(lambda subject: asset_path(or_exit(ASSETS.weights, subject, section)))
    return lambda wildcards: of(wildcards.subject)


@cache
def mica_of(subject):
    """MICA's weights, if they determine the subject's identity."""
    return asset_path(or_exit(ASSETS.identity_weights, subject))


def identity_weights(wildcards):
    """Input function: MICA's weights."""
    return mica_of(wildcards.subject)


def identity_code(wildcards):
    """Optional input: the identity of the subject's row, else MICA's estimate if its weights exist."""
    named = subject_of(wildcards.subject).identity
    if named or not identity_weights(wildcards):
        return user_file(named, wildcards.subject) if named else []
    return f"work/{wildcards.subject}/mica.npy"


def refined(wildcards):
    """Whether the track is refined photometrically."""
    return settings(wildcards.subject, "track")["photometric"] != "never"


def trunk_inputs(wildcards):
    """Input function: images and mattes, if the trunk is solved."""
    return {} if settings(wildcards.subject, "track")["trunk"] == "none" else clip_images(wildcards)


def refine_inputs(wildcards):
    """Input function: images and mattes, if refinement or the trunk's solve reads them."""
    return clip_images(wildcards) if refined(wildcards) else trunk_inputs(wildcards)


def clip_images(wildcards):
    """Images and mattes of a whole clip."""
    return {"frames": chunks(("frames", "zip"))(wildcards), "alpha": chunks(("alpha", "zip"))(wildcards)}


def refinement_file(wildcards):
    """Optional input: the report of the refinement; imported tracks have none."""
    return [] if subject_of(wildcards.subject).imported else f"work/{wildcards.subject}/track/refinement.json"


PARSE_WEIGHTS = weights("parse")


def parse_inputs(wildcards):
    """Input function: frames, tracked geometry and cut; a network's weights, or what replaces it."""
    folder, chunk = f"work/{wildcards.subject}", wildcards.chunk
    inputs = {
        "frames": f"{folder}/frames/{chunk}.zip",
        "head": head_file(wildcards),
        "track": f"{folder}/track/track.npz",
        "cut": f"{folder}/neck_cut.npz",
    }
    network = PARSE_WEIGHTS(wildcards)
    if network:
        return inputs | {"weights": network}
    return inputs | {
        "landmarks": f"{folder}/landmarks.npz",
        "crop": f"{folder}/crop.json",
        "alpha": f"{folder}/alpha/{chunk}.zip",
    }


def lpips_weights(wildcards):
    """Optional input: the weights of LPIPS-VGG, if present. New weights rerun training."""
    return LPIPS_WEIGHTS


def motion_of(wildcards):
    """(motion, None); or (None, input that makes the job fail) if the subject's head does not fit the
    motion."""
    try:
        return motions.motion_for(MOTIONS, wildcards.motion, subject_of(wildcards.subject).head), None
    except UserError as error:
        # Names of `web.motions` are the user's own and may be no names of files.
        name = wildcards.motion if named_rows.is_name(wildcards.motion) else "motions"
        return None, REFUSALS.file(refusals.VIDEO, f"{wildcards.subject}.{name}", str(error))


def look_of(wildcards):
    """(look, None) of a driven video; or (None, input that makes the job fail)."""
    motion, refusal = motion_of(wildcards)
    if refusal:
        return None, refusal
    video = f"{wildcards.motion}.{getattr(wildcards, 'format', 'mp4')}"
    try:
        look = motion.look(settings(wildcards.subject, "drive"), video)
        motions.require_torso(look, subject_of(wildcards.subject), settings(wildcards.subject, "train"))
        return look, None
    except UserError as error:
        name = f"{wildcards.subject}.{video}"
        return None, REFUSALS.file(refusals.VIDEO, name, f"{wildcards.motion}: {error}")


def look_files(wildcards):
    """Input function: files of the subject's clip, and an image, that the video's look needs."""
    look, refusal = look_of(wildcards)
    if refusal:
        return {"refused": refusal}
    folder = f"work/{wildcards.subject}"
    files = {"plate": f"{folder}/clean_plate.png"} if look.needs_plate else {}
    if look.image:
        files["image"] = user_file(look.image, wildcards.subject)
    if look.body == PASTE:
        files |= {name: chunks((name, "zip"))(wildcards) for name in ("frames", "alpha", "parsing")}
    return files


def motion_file(column):
    """Input function: the file in a column of the motion's row, if there is one."""

    def file(wildcards):
        motion, refusal = motion_of(wildcards)
        if refusal or not getattr(motion, column):
            return refusal or []
        path = getattr(motion, column)
        return path if path.startswith("work/") else user_file(path, wildcards.subject)

    return file


def driving_file(wildcards):
    """Input: the motion to play; of speech what `speak_motion` makes of the sound."""
    motion, refusal = motion_of(wildcards)
    if not refusal and motion.speech:
        return f"work/{wildcards.subject}/speech/{wildcards.motion}.npz"
    return motion_file("file")(wildcards)


@cache
def page_motions(subject):
    """The motions of a subject's web page, each as the wildcards of its driven video."""
    named = settings(subject, "web")["motions"]
    names = MOTIONS if named == "all" else [name.strip() for name in named.split(",")]
    played = [Played(subject, name) for name in names if named != "none"]
    return [item for item in played if named != "all" or page_can_play(item)]


def page_can_play(wildcards):
    """Whether a motion fits the subject's head, and its voice is there."""
    try:
        motion = motions.motion_for(MOTIONS, wildcards.motion, subject_of(wildcards.subject).head)
        if motion.speech:
            motions.voice_of(motion, subject_of(wildcards.subject), SUBJECTS, ASSETS.voices_found())
    except UserError:
        return False
    return True


def page_webcam(wildcards):
    """Optional input: MediaPipe's package for browsers, which the subject's web page is to hold."""
    path = settings(wildcards.subject, "web")["webcam"]
    return user_file(path, wildcards.subject) if path else []


def page_files(column):
    """Input function: files of the motions of a subject's web page, without those that lack one."""

    def files(wildcards):
        found = [
            driving_file(played) if column == "file" else motion_file(column)(played)
            for played in page_motions(wildcards.subject)
        ]
        return [file for file in found if file]

    return files


def voice_of(wildcards):
    """(voice, {name: file it needs}, None) of a motion with speech; or (None, {}, input that makes the
    job fail)."""
    motion, refusal = motion_of(wildcards)
    if refusal:
        return None, {}, refusal
    subject = subject_of(wildcards.subject)
    try:
        voice, speaker = motions.voice_of(motion, subject, SUBJECTS, ASSETS.voices_found())
        files = {key: asset_path(need) for key, need in ASSETS.of_voice(voice).items()}
    except UserError as error:
        line = str(error)
        return None, {}, REFUSALS.file(refusals.VIDEO, f"{wildcards.subject}.{wildcards.motion}", line)
    if voice == PERSONAL:
        files["voice"] = f"results/{speaker}/voice/voice.npz"
    return voice, files, None


def voice_files(wildcards):
    """Input function: the files that the motion's voice needs, by name."""
    _, files, refusal = voice_of(wildcards)
    return {"refused": refusal} if refusal else files


def spoken_video(wildcards):
    """Input: the video that the section `speak` of the configuration asks for."""
    if SPOKEN is None:
        sys.exit("error: speak: no sound is given; add --config 'speak={subject: NAME, sound: FILE}'")
    subject, motion = SPOKEN
    return f"results/{subject}/driven/{motion}.mp4"
