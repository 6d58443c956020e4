"""GPU architectures of a build: those of the GPUs here, of TORCH_CUDA_ARCH_LIST, or all.

A target is the text "90" for machine code of compute capability 9.0, or "ptx90" for PTX. From PTX
the driver compiles code for newer GPUs. Machine code runs on GPUs of the same major version whose
minor version is not lower; that of Tegra runs on its own version only.
Formats: PyTorch's TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX", "Ampere"); `nvcc --list-gpu-arch`.
"""

import platform
import re
from collections.abc import Iterable, Sequence

from .compilers import BuildError, output_of

VARIABLE = "TORCH_CUDA_ARCH_LIST"
OLDEST = 70  # lowest supported compute capability
_NEWEST = 120  # highest one with machine code of its own in a build for all GPUs
_TEGRA = (72, 87, 88, 101, 110)
_LONGEST = 500  # characters of the variable
_ENTRY = re.compile(r"([0-9]{1,2})\.([0-9])[af]?(\+PTX)?")
_NAMES = {
    "volta": (70,),
    "turing": (75,),
    "ampere": (80, 86),
    "ada": (89,),
    "hopper": (90,),
    "blackwell": (100, 103, 120, 121),
}


def capability(arch: str | int) -> str:
    """A compute capability in NVIDIA's notation: "90" is 9.0."""
    return f"{str(arch)[:-1]}.{str(arch)[-1]}"


def known_to(nvcc: str) -> tuple[int, ...]:
    """Architectures that a CUDA compiler knows, ascending; empty if it does not say."""
    said = output_of([nvcc, "--list-gpu-arch"])
    return tuple(sorted({int(found) for found in re.findall(r"^compute_(\d+)$", said, re.M)}))


def are_targets(values: Iterable[object]) -> bool:
    """Whether values read from a file have the form of targets."""
    return all(isinstance(v, str) and re.fullmatch(r"(ptx)?[0-9]{2,3}", v) for v in values)


def serve(targets: Iterable[str], gpu: str) -> bool:
    """Whether a library with these targets runs on a GPU of this compute capability."""
    wanted = int(gpu)
    for target in targets:
        arch = int(target.removeprefix("ptx"))
        if target.startswith("ptx"):
            if arch <= wanted:
                return True
        elif arch == wanted or (
            arch // 10 == wanted // 10 and arch < wanted and not {arch, wanted} & set(_TEGRA)
        ):
            return True
    return False


def for_gpus(gpus: Sequence[str], known: Sequence[int]) -> tuple[str, ...]:
    """Targets of the GPUs of this machine.

    A GPU that is newer than the compiler gets the nearest code that runs on it, PTX if need be.

    Args:
        gpus: compute capabilities, such as "90".
        known: see `known_to`; empty if unknown.

    Raises:
        BuildError: the compiler can make no code for one of them.
    """
    targets = []
    for gpu in gpus:
        if int(gpu) < OLDEST:
            have, need = capability(gpu), capability(OLDEST)
            raise BuildError(f"the GPU has compute capability {have}; {need} or newer is needed")
        able = [str(arch) for arch in known if serve([str(arch)], gpu)]
        if not known:
            targets.append(gpu)
        elif able:
            targets.append(able[-1])
        elif int(gpu) > known[-1]:
            targets.append(f"ptx{known[-1]}")
        else:
            raise BuildError(
                f"this CUDA compiler makes no code for compute capability {capability(gpu)}, the "
                f"GPU's, but for {_range(known)}: set CUDA_HOME to an older toolkit, which PyTorch "
                "must match"
            )
    return _ordered(targets)


def everything(known: Sequence[int]) -> tuple[str, ...]:
    """Targets for all GPUs from Volta to Blackwell that a compiler knows, and PTX for later ones.

    Raises:
        BuildError: it knows none of them.
    """
    # Tegra's processors are ARM's.
    tegra = () if platform.machine() in ("x86_64", "AMD64") else _TEGRA
    chosen = [
        arch
        for arch in known
        if OLDEST <= arch <= _NEWEST and (arch not in _TEGRA or arch in tegra)
    ]
    if not chosen:
        raise BuildError("nvcc --list-gpu-arch names no architecture; set CUDA_HOME to its toolkit")
    return (*map(str, chosen), f"ptx{chosen[-1]}")


def listed(text: str, known: Sequence[int]) -> tuple[str, ...]:
    """Targets of TORCH_CUDA_ARCH_LIST.

    Entries below 7.0 are left out, because the kernels need 7.0. The suffixes of 9.0a and 10.0f
    mean nothing here, because the kernels use no feature that they add.

    Args:
        text: the variable's value, not empty.
        known: see `known_to`; empty if unknown.

    Raises:
        BuildError: another entry than PyTorch knows, or one that the compiler does not know.
    """
    targets: list[str] = []
    entries = re.split(r"[;,\s]+", text.strip()) if len(text) <= _LONGEST else [text]
    for entry in filter(None, entries):
        name, ptx, _ = entry.lower().partition("+ptx")
        if name in ("all", "common") and not ptx:
            targets.extend(everything(known))
            continue
        found = _ENTRY.fullmatch(entry)
        if name in _NAMES and entry.lower() in (name, f"{name}+ptx"):
            archs = [arch for arch in _NAMES[name] if not known or arch in known]
        elif found:
            archs = [int(found[1] + found[2])]
        else:
            raise BuildError(
                f"{VARIABLE} has {_shown(entry)}; write versions such as 8.0;9.0+PTX, or all"
            )
        archs = [arch for arch in archs if arch >= OLDEST]
        unknown = [arch for arch in archs if known and arch not in known]
        if unknown:
            raise BuildError(
                f"{VARIABLE} has {capability(unknown[0])}, which this CUDA compiler does not know "
                f"({_range(known)}); leave it out, or set CUDA_HOME to another toolkit"
            )
        targets.extend(map(str, archs))
        if ptx and archs:
            targets.append(f"ptx{archs[-1]}")
    if not targets:
        raise BuildError(
            f"{VARIABLE} names no architecture from {capability(OLDEST)} on that this CUDA "
            "compiler knows; write versions such as 8.0;9.0+PTX, or all"
        )
    return _ordered(targets)


def flags(targets: Iterable[str]) -> list[str]:
    """Arguments of nvcc for these targets."""
    words = []
    for target in targets:
        arch = target.removeprefix("ptx")
        code = "compute" if target.startswith("ptx") else "sm"
        words.append(f"-gencode=arch=compute_{arch},code={code}_{arch}")
    return words


def described(targets: Iterable[str]) -> str:
    """Targets as text: "8.0, 9.0, PTX of 9.0"."""
    return ", ".join(
        f"PTX of {capability(target.removeprefix('ptx'))}"
        if target.startswith("ptx")
        else capability(target)
        for target in targets
    )


def _ordered(targets: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        sorted(set(targets), key=lambda t: (t.startswith("ptx"), int(t.removeprefix("ptx"))))
    )


def _range(known: Sequence[int]) -> str:
    return f"{capability(known[0])} to {capability(known[-1])}"


def _shown(entry: str) -> str:
    """An entry in a message: one line, at most 40 characters."""
    text = ascii(entry)
    return text if len(text) <= 40 else f"{text[:40]}..."
