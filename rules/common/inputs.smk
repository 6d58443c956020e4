# Input functions: the files that a job reads. They are called once per job, so what a subject's jobs
# share is kept.
import os
from functools import cache

USED_ASSETS = {}


def announced_refusal(wildcards):
    """Input function: nothing. It is called when the job is planned, which is when its line is said."""
    REFUSALS.announce(wildcards.refused)
    return []


def user_file(path, subject):
    """Input: a file or folder that the subject's row names, whatever its name. If it was removed after
    the table was read, the subject fails alone."""
    if os.path.exists(path):
        return snakemake_patches.literal(path)
    line = f"{SUBJECTS.table}: '{shown(path)}' of '{subject}' is not there any more; put it back"
    return REFUSALS.file(refusals.SUBJECT, subject, line)


def row_file(column):
    """Optional input: the file that an optional column of the subject's row names."""

    def file(wildcards):
        path = getattr(subject_of(wildcards.subject), column)
        return user_file(path, wildcards.subject) if path else []

    return file


def head_file(wildcards):
    """The head model that the subject's row names."""
    return f"work/heads/{subject_of(wildcards.subject).head}.npz"


def source_video(wildcards):
    """The subject's video; the built-in one is rendered by the workflow."""
    subject = subject_of(wildcards.subject)
    return BUILTIN_CLIP if subject.builtin else subject.video


def user_video(wildcards):
    """Input: the subject's video. What is in it counts (`video_content`) and not its date, unless
    the workflow renders it."""
    video = source_video(wildcards)
    return video if video == BUILTIN_CLIP else ancient(user_file(video, wildcards.subject))


def sound_source(wildcards):
    """Optional input: the video whose sound goes with the result; imports have none."""
    return [] if subject_of(wildcards.subject).imported else user_video(wildcards)


def import_folders(wildcards):
    """What an import is read from: its folder and those in it, so that new files are noticed."""
    subject = subject_of(wildcards.subject)
    named = [subject.folder, *([subject.video] if subject.video else [])]
    return [user_file(path, subject.name) for path in [*named, *folders_in(subject.folder)]]


def chunks(*stages):
    """Input function: all chunk files of the stages named, in order."""

    def files(wildcards):
        count = chunk_count(wildcards)
        return [
            f"work/{wildcards.subject}/{folder}/{chunk:03d}.{suffix}"
            for folder, suffix in stages
            for chunk in range(count)
        ]

    return files


def previous_and_this(wildcards):
    """This chunk's frames after the previous chunk's, which warm up recurrent stages."""
    chunk = int(wildcards.chunk)
    return [f"work/{wildcards.subject}/frames/{c:03d}.zip" for c in range(max(chunk - 1, 0), chunk + 1)]


def asset_path(need):
    """Inputs of an asset; it is noted, so that its hash is checked before the first job."""
    if need is None:
        return []
    USED_ASSETS[need.path] = need
    return [snakemake_patches.literal(str(need.path))]


def head_assets(wildcards):
    """Input function: the files that a head is made of, by their keys."""
    keys = HEADS[wildcards.head].assets
    return {key: asset_path(or_exit(ASSETS.required, key)) for key in keys}


def weights(section):
    """Input function: the weights of a stage's network, where it runs one; adding them reruns it."""
    of = cache(lambda subject: asset_path(or_exit(ASSETS.weights, subject, section)))
    return lambda wildcards: of(wildcards.subject)


@cache
def mica_of(subject):
    """MICA's weights, where the subject's identity comes from them."""
    return asset_path(or_exit(ASSETS.identity_weights, subject))


def identity_weights(wildcards):
    """Input function: MICA's weights."""
    return mica_of(wildcards.subject)


def identity_code(wildcards):
    """Optional input: the identity the subject's row names, else MICA's where its weights are."""
    named = subject_of(wildcards.subject).identity
    if named or not identity_weights(wildcards):
        return user_file(named, wildcards.subject) if named else []
    return f"work/{wildcards.subject}/mica.npy"


def refined(wildcards):
    """Whether the track is held against the images."""
    return settings(wildcards.subject, "track")["photometric"] != "never"


def refine_inputs(wildcards):
    """Input function: images and mattes, where the track is held against them."""
    if not refined(wildcards):
        return {}
    return {"frames": chunks(("frames", "zip"))(wildcards), "alpha": chunks(("alpha", "zip"))(wildcards)}


def refinement_file(wildcards):
    """Optional input: what the refinement did; imported tracks have none."""
    return [] if subject_of(wildcards.subject).imported else f"work/{wildcards.subject}/track/refinement.json"


PARSE_WEIGHTS = weights("parse")


def parse_inputs(wildcards):
    """Input function: images and weights for a network; for geometry all that is tracked."""
    folder, chunk = f"work/{wildcards.subject}", wildcards.chunk
    inputs = {"frames": f"{folder}/frames/{chunk}.zip"}
    network = PARSE_WEIGHTS(wildcards)
    if network:
        return inputs | {"weights": network}
    return inputs | {
        "head": head_file(wildcards),
        "track": f"{folder}/track/track.npz",
        "landmarks": f"{folder}/landmarks.npz",
        "crop": f"{folder}/crop.json",
        "alpha": f"{folder}/alpha/{chunk}.zip",
    }


def lpips_weights(wildcards):
    """Optional input: the weights of LPIPS-VGG where they are, so that adding them reruns."""
    return LPIPS_WEIGHTS


def motion_of(wildcards):
    """The motion and None; if the subject's head cannot play it, None and the input that makes the
    job fail."""
    try:
        return motions.motion_for(MOTIONS, wildcards.motion, subject_of(wildcards.subject).head), None
    except UserError as error:
        return None, REFUSALS.file(refusals.VIDEO, f"{wildcards.subject}.{wildcards.motion}", str(error))


def motion_file(column):
    """Input function: a file that the motion's row names, where it names one."""

    def file(wildcards):
        motion, refusal = motion_of(wildcards)
        if refusal or not getattr(motion, column):
            return refusal or []
        path = getattr(motion, column)
        return path if column == "file" and motion.made else user_file(path, wildcards.subject)

    return file
