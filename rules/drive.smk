# Drive a trained avatar with a motion of config/motions.tsv, on demand:
# `snakemake results/<subject>/driven/<motion>.mp4`.


rule drive_avatar:
    """Avatar and motion (speech, a track, DiffPoseTalk codes or ARKit coefficients) -> driven video."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        avatar="results/{subject}/avatar/model",
        track="work/{subject}/track/track.npz",
        motion=driving_file,
        audio=motion_file("audio"),
    output:
        "results/{subject}/driven/{motion}.mp4",
    log:
        "logs/{subject}/drive_avatar/{motion}.log",
    benchmark:
        "logs/{subject}/drive_avatar/{motion}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
    conda:
        "../envs/trainer.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        motion=motion_flags,
        scratch="scratch/{subject}/drive_avatar/{motion}",
        code=code_version("drive_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/drive_avatar.py --avatar={input.avatar:q} --head={input.head:q} '
        "--track={input.track:q} --motion={input.motion:q} {params.motion:q} --scratch={params.scratch:q} "
        "--out={output:q} > {log:q} 2>&1"
