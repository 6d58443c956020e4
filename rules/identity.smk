# Identity estimate before tracking; runs only if MICA's weights are available.


rule solve_identity:
    """Frames and landmarks -> FLAME shape code by MICA, the median over several good frames."""
    input:
        weights=identity_weights,
        landmarks="work/{subject}/landmarks.npz",
        crop="work/{subject}/crop.json",
        table="work/{subject}/frames.tsv",
        frames=chunks(("frames", "zip")),
    output:
        "work/{subject}/mica.npy",
    log:
        "logs/{subject}/solve_identity.log",
    benchmark:
        "logs/{subject}/solve_identity.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/assets.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("solve_identity"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/solve_identity.py --weights={input.weights:q} --frames {input.frames:q} '
        "--landmarks={input.landmarks:q} --crop={input.crop:q} --table={input.table:q} "
        "--out={output:q} > {log:q} 2>&1"
