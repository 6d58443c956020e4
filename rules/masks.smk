# Who is the subject (alpha), and which pixels are head and mouth (parsing).


rule matte_chunk:
    """Alpha of one chunk; the previous chunk's last frames warm up what is recurrent."""
    input:
        frames=previous_and_this,
    output:
        "work/{subject}/alpha/{chunk}.zip",
    log:
        "logs/{subject}/matte_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/matte_chunk/{chunk}.tsv"
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        options=options("matte"),
        code=code_version("matte_chunk"),
    shell:
        "exec python workflow_scripts/matte_chunk.py --frames {input.frames} --chunk {wildcards.chunk} "
        "{params.options} --out {output} > {log} 2>&1"


rule parse_chunk:
    """Head-and-neck and mouth masks of one chunk, from the tracked mesh and the alpha."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        landmarks="work/{subject}/landmarks.npz",
        crop="work/{subject}/crop.json",
        frames="work/{subject}/frames/{chunk}.zip",
        alpha="work/{subject}/alpha/{chunk}.zip",
    output:
        "work/{subject}/parsing/{chunk}.zip",
    log:
        "logs/{subject}/parse_chunk/{chunk}.log",
    benchmark:
        "logs/{subject}/parse_chunk/{chunk}.tsv"
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_version("parse_chunk"),
    shell:
        "exec python workflow_scripts/parse_chunk.py --head {input.head} --track {input.track} "
        "--landmarks {input.landmarks} --crop {input.crop} --frames {input.frames} "
        "--alpha {input.alpha} --out {output} > {log} 2>&1"
