# Imports of other tools' tracked clips, instead of probe, detection, crop and tracking.


rule import_track:
    """Another tool's folder -> its track, and the files that detection and crop write otherwise."""
    input:
        head=head_file,
        folders=import_folders,
    output:
        record="work/{subject}/import.json",
        track="work/{subject}/track/imported_track.npz",
        identity="work/{subject}/identity.npy",
        crop="work/{subject}/crop.json",
        frames="work/{subject}/frames.tsv",
        info="work/{subject}/video.json",
        landmarks="work/{subject}/landmarks.npz",
    log:
        "logs/{subject}/import_track.log",
    benchmark:
        "logs/{subject}/import_track.tsv"
    wildcard_constraints:
        subject=FROM_IMPORT,
    conda:
        "../envs/tracker.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        row=import_flags,
        options=options("import"),
        size=options("crop"),
        code=code_version("import_track"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/import_track.py {params.row:q} --head={input.head:q} '
        "{params.options:q} {params.size:q} --record={output.record:q} --track={output.track:q} "
        "--identity={output.identity:q} --crop={output.crop:q} --frames={output.frames:q} "
        "--info={output.info:q} --landmarks={output.landmarks:q} > {log:q} 2>&1"


rule solve_trunk:
    """Imported track, frames and mattes -> track with the pose of neck base and shoulders."""
    input:
        unpack(trunk_inputs),
        head=head_file,
        track="work/{subject}/track/imported_track.npz",
    output:
        "work/{subject}/track/track.npz",
    log:
        "logs/{subject}/solve_trunk.log",
    benchmark:
        "logs/{subject}/solve_trunk.tsv"
    wildcard_constraints:
        subject=FROM_IMPORT,
    conda:
        "../envs/tracker.yaml"
    threads: 4
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        images=refine_flags,
        code=code_version("solve_trunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/solve_trunk.py --head={input.head:q} --track={input.track:q} '
        "{params.images:q} --out={output:q} > {log:q} 2>&1"


rule import_frames_chunk:
    """Imported images of one chunk -> zip of frames, cropped and scaled."""
    input:
        record="work/{subject}/import.json",
        crop="work/{subject}/crop.json",
    output:
        "work/{subject}/frames/{chunk}.zip",
    log:
        "logs/{subject}/import_frames_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/import_frames_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=FROM_IMPORT,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        part="frames",
        chunks=chunk_count,
        code=code_version("import_chunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/import_chunk.py --part={params.part:q} --record={input.record:q} '
        "--crop={input.crop:q} --chunk={wildcards.chunk:q} --chunks={params.chunks:q} --out={output:q} > {log:q} 2>&1"


# Imported mattes of one chunk -> zip of mattes, if the folder contains them.
use rule import_frames_chunk as import_alpha_chunk with:
    output:
        "work/{subject}/alpha/{chunk}.zip",
    log:
        "logs/{subject}/import_alpha_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/import_alpha_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=ALPHA_IMPORTED,
    params:
        part="alpha",
        chunks=chunk_count,
        code=code_version("import_chunk"),


# Imported head and mouth masks of one chunk -> zip of masks, if the folder contains them.
use rule import_frames_chunk as import_parsing_chunk with:
    output:
        "work/{subject}/parsing/{chunk}.zip",
    log:
        "logs/{subject}/import_parsing_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/import_parsing_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=PARSING_IMPORTED,
    params:
        part="parsing",
        chunks=chunk_count,
        code=code_version("import_chunk"),
