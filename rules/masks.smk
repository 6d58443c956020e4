# Masks: mattes of the person (alpha), the cut of a clip, and head and mouth masks (parsing).


rule matte_chunk:
    """Frames of one chunk -> mattes; the previous chunk's last frames warm up recurrent networks."""
    input:
        frames=previous_and_this,
        clip=spread_chunks,
        weights=weights("matte"),
    output:
        "work/{subject}/alpha/{chunk}.zip",
    log:
        "logs/{subject}/matte_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/matte_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=ALPHA_MADE,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=options("matte"),
        model=network_flag("matte"),
        weights=weights_flag,
        code=code_version("matte_chunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/matte_chunk.py --frames {input.frames:q} --clip {input.clip:q} --chunk={wildcards.chunk:q} '
        "{params.options:q} {params.model:q} {params.weights:q} --out={output:q} > {log:q} 2>&1"


rule decide_cut:
    """Track, frames and mattes of a clip -> line between neck and clothes, which all frames share."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
    output:
        "work/{subject}/neck_cut.npz",
    log:
        "logs/{subject}/decide_cut.log",
    benchmark:
        "logs/{subject}/decide_cut.tsv"
    wildcard_constraints:
        subject=PARSING_MADE,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("decide_cut"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/decide_cut.py --head={input.head:q} --track={input.track:q} '
        "--frames {input.frames:q} --alpha {input.alpha:q} --out={output:q} > {log:q} 2>&1"


rule parse_chunk:
    """Frames of one chunk and the clip's cut -> head-and-neck and mouth masks, by mesh or network."""
    input:
        "work/cuda_ext/build.json",
        unpack(parse_inputs),
    output:
        "work/{subject}/parsing/{chunk}.zip",
    log:
        "logs/{subject}/parse_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/parse_chunk/{chunk}.tsv"
    wildcard_constraints:
        subject=PARSING_MADE,
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        inputs=input_flags,
        model=network_flag("parse"),
        code=code_version("parse_chunk"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/parse_chunk.py {params.inputs:q} {params.model:q} --out={output:q} > {log:q} 2>&1'
