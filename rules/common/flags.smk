# Params functions, the arguments of a job's command; and resources functions, what it asks of its
# machine. No resource is a param, so none reruns a job.
import json
from functools import cache


def options(section):
    """Params function: the section as arguments, so that only its values rerun a rule."""
    of_preset = cache(lambda preset: arguments(PRESETS[preset][section]))
    return lambda wildcards: of_preset(subject_of(wildcards.subject).preset)


def option(section, key):
    """Params function: one option's value."""
    return lambda wildcards: settings(wildcards.subject, section)[key]


def needs_flags(wildcards):
    """Params function: every asset that the configuration can use. As a constant, braces in their
    names would be taken for wildcards."""
    return as_flags(ASSETS.all())


def settings_flag(wildcards):
    """Params function: the whole configuration; a function, because its braces are no wildcards."""
    return argument("settings", json.dumps(config))


def refusal_line(wildcards):
    """Params function: what is wrong with a row."""
    return REFUSALS[wildcards.refused]


def video_content(wildcards):
    """Params function: what is in the subject's video."""
    video = source_video(wildcards)
    return "" if video == BUILTIN_CLIP else content_of(video)


def sound_flag(wildcards, input):
    """Params function: the video whose sound goes with the result, where there is one."""
    return argument("video", input.video)


def head_file_flags(wildcards, input):
    """Params function: the files that a head is made of, in the builder's order."""
    return [f"--file={key}={input.get(key)}" for key in HEADS[wildcards.head].assets]


def head_code(wildcards):
    """Params function: the version of the code that builds a head."""
    return code_version("build_head", modules=(HEADS[wildcards.head].module,))


def network_flag(section):
    """Params function: the network that runs a stage, where its weights are among the inputs."""
    of = cache(lambda subject: ASSETS.network(subject, section)[0])
    return lambda wildcards, input: argument("model", of(wildcards.subject) if input.get("weights") else None)


def weights_flag(wildcards, input):
    """Params function: the weights among the inputs, where there are any."""
    return argument("weights", input.weights)


def import_flags(wildcards):
    """Params function: what the subject's row says about its import."""
    subject = subject_of(wildcards.subject)
    flags = {"kind": subject.kind, "folder": subject.folder, "images": subject.video}
    flags |= {"frame_delta": subject.frame_delta, "flame_version": subject.flame_version}
    return arguments(flags)


def intrinsics_flag(wildcards):
    """Params function: the camera that the subject's row states; it must not look at the inputs, or
    an edited row would rerun nothing."""
    return argument("intrinsics", subject_of(wildcards.subject).intrinsics)


def neck_flag(wildcards):
    """Params function: whether the head's turns are shared out between trunk and neck."""
    return ["--neck"] if settings(wildcards.subject, "track")["neck"] else []


def identity_flag(wildcards, input):
    """Params function: the identity code among the inputs, where there is one."""
    return argument("identity", input.identity)


def refine_flags(wildcards, input):
    """Params function: the images and mattes, where the track is held against them."""
    return ["--frames", *input.frames, "--alpha", *input.alpha] if refined(wildcards) else []


def refinement_flag(wildcards, input):
    """Params function: what the refinement did, where there was one."""
    return argument("refinement", input.refinement)


def checkpoint_flag(wildcards, input):
    """Params function: the checkpoint that training goes on from, where there is one."""
    return argument("checkpoint", input.checkpoint)


def input_flags(wildcards, input):
    """Params function: every named input as an argument."""
    return arguments(dict(input.items()))


def motion_flags(wildcards):
    """Params function: what the motion's row says about it; of the row alone, so that edits rerun."""
    motion, _ = motion_of(wildcards)
    return arguments(motion.flags() if motion else {})


def ground_truth_flag(wildcards):
    """Params function: the built-in clip's ground_truth, which only the report may read."""
    builtin = subject_of(wildcards.subject).builtin
    return argument("ground_truth", BUILTIN_GROUND_TRUTH if builtin else None)


def own_environment(wildcards):
    """Conda function: none; what asks Snakemake or looks at its machine runs in its environment."""
    return None


def job_frames(wildcards):
    """Frames that a job works on: its chunk's, its subject's, or none."""
    if "subject" not in wildcards.keys():
        return config["builtin"]["seconds"] * 25
    frames = CLIP_FRAMES.of(wildcards.subject)
    return frames / chunk_count(wildcards) if "chunk" in wildcards.keys() else frames


def memory_mb(wildcards, attempt, rulename):
    """Resources function: megabytes of memory."""
    return requests.memory_mb(rulename, job_frames(wildcards), attempt)


def run_minutes(wildcards, attempt, rulename):
    """Resources function: minutes until a batch system may end the job."""
    return requests.minutes(rulename, job_frames(wildcards), attempt)


def disk_mb(wildcards, rulename):
    """Resources function: megabytes of disk."""
    return requests.disk_mb(rulename, job_frames(wildcards))


def gpu_percent(wildcards, attempt):
    """Resources function: share of a gpu that images may fill; less after it ran out."""
    return requests.gpu_percent(attempt)


def refine_gpus(wildcards):
    """Resources function: a gpu, where the track is held against the images."""
    return int(refined(wildcards))
