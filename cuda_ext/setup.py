"""Build the wheel of the shared library, for the PyTorch of the target environment.

The wheel is meant for other machines than this one: it serves every GPU that the CUDA compiler
knows (or those of TORCH_CUDA_ARCH_LIST), x86 processors with AVX2 or any ARM, and any Python.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# pip does not add the project's folder to sys.path, and the modules import each other.
_PACKAGE = ModuleType("headsplat_cuda_ext_build")
_PACKAGE.__path__ = [str(Path(__file__).resolve().parent)]
sys.modules[_PACKAGE.__name__] = _PACKAGE
architectures, compilers, toolchain = (
    importlib.import_module(f"{_PACKAGE.__name__}.{name}")
    for name in ("architectures", "compilers", "toolchain")
)


class BuildLibrary(build_ext):
    """Compile with `toolchain.py` instead of setuptools' compilers."""

    def get_ext_filename(self, fullname: str) -> str:
        """File name without a Python version, because the library is no Python module."""
        return str(Path(*fullname.split(".")[:-1]) / toolchain.LIBRARY)

    def build_extension(self, ext: Extension) -> None:
        """Build the library, and write build.json next to it."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            plan = toolchain.plan(toolchain.Torch.of_environment(), everywhere=True)
            with tempfile.TemporaryDirectory() as folder:
                library = toolchain.build(plan, Path(folder))
                target.write_bytes(library.read_bytes())
        except toolchain.BuildError as error:
            sys.exit(f"{error.output}headsplat_cuda_ext: {error}")
        serves = architectures.described(plan.targets)
        says = f"for GPUs of compute capability {serves}" if serves else "for the CPU alone"
        why = f" ({plan.no_cuda})" if plan.no_cuda else ""
        print(f"headsplat_cuda_ext: PyTorch {plan.torch.version}, {says}{why}", file=sys.stderr)
        facts = {
            "torch": plan.torch.version,
            "cxx11_abi": plan.torch.cxx11_abi,
            "sources": toolchain.sources_digest(),
            "targets": plan.targets,
            "no_cuda": plan.no_cuda,
            "features": compilers.portable_features(),
            "sha256": toolchain.sha256(target),
        }
        (target.parent / "build.json").write_text(json.dumps(facts) + "\n")


class NamedWheel(bdist_wheel):
    """Names the PyTorch in the wheel's build number, and no Python, because any will do."""

    def finalize_options(self) -> None:
        """Set the build number, such as 1torch2.13.0.cpu."""
        try:
            version = toolchain.Torch.of_environment().version
        except toolchain.BuildError as error:
            sys.exit(f"headsplat_cuda_ext: {error}")
        version = version.replace("+", ".").replace("-", ".")
        self.build_number = f"1torch{version}"
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        """The library holds no Python code."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("headsplat_cuda_ext.headsplat_ops", sources=[])],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": NamedWheel},
)
