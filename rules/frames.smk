# Video -> square frames: probe, face detection, one fixed crop, cropped frames.


rule probe_video:
    """Video -> video.json: size, sound, and the source image of each frame at 25 fps."""
    input:
        user_video,
    output:
        "work/{subject}/video.json",
    log:
        "logs/{subject}/probe_video.log",
    benchmark:
        "logs/{subject}/probe_video.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        content=video_content,
        code=code_version("probe_video"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/probe_video.py --video={input:q} --out={output:q} > {log:q} 2>&1'


rule detect_chunk:
    """One chunk of the video -> landmarks of all faces in every frame."""
    input:
        video=user_video,
        info="work/{subject}/video.json",
    output:
        "work/{subject}/landmarks/{chunk}.npz",
    log:
        "logs/{subject}/detect_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/detect_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        chunks=chunk_count,
        options=options("detect"),
        code=code_version("detect_chunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/detect_chunk.py --video={input.video:q} --info={input.info:q} '
        "--chunk={wildcards.chunk:q} --chunks={params.chunks:q} {params.options:q} "
        "--out={output:q} > {log:q} 2>&1"


rule solve_crop:
    """Landmarks of all faces -> the subject's landmarks, frame table, and one square crop."""
    input:
        info="work/{subject}/video.json",
        landmarks=chunks(("landmarks", "npz")),
    output:
        crop="work/{subject}/crop.json",
        frames="work/{subject}/frames.tsv",
        landmarks="work/{subject}/landmarks.npz",
    log:
        "logs/{subject}/solve_crop.log",
    benchmark:
        "logs/{subject}/solve_crop.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=options("crop"),
        code=code_version("solve_crop"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/solve_crop.py --info={input.info:q} --landmarks {input.landmarks:q} '
        "{params.options:q} --crop={output.crop:q} --frames={output.frames:q} "
        "--landmarks-out={output.landmarks:q} > {log:q} 2>&1"


rule crop_chunk:
    """One chunk of the video and the crop -> zip of square JPEG frames."""
    input:
        video=user_video,
        info="work/{subject}/video.json",
        crop="work/{subject}/crop.json",
    output:
        "work/{subject}/frames/{chunk}.zip",
    log:
        "logs/{subject}/crop_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/crop_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        chunks=chunk_count,
        code=code_version("crop_chunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/crop_chunk.py --video={input.video:q} --info={input.info:q} '
        "--crop={input.crop:q} --chunk={wildcards.chunk:q} --chunks={params.chunks:q} --out={output:q} > {log:q} 2>&1"
