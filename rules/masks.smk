# Masks: mattes of the person (alpha), and head and mouth masks (parsing).


rule matte_chunk:
    """Frames of one chunk -> mattes; the previous chunk's last frames warm up recurrent networks."""
    input:
        frames=previous_and_this,
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
        'exec python "$HEADSPLAT_SCRIPTS"/matte_chunk.py --frames {input.frames:q} --chunk={wildcards.chunk:q} '
        "{params.options:q} {params.model:q} {params.weights:q} --out={output:q} > {log:q} 2>&1"


rule parse_chunk:
    """Frames of one chunk -> head-and-neck and mouth masks, from a network or the tracked mesh."""
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
