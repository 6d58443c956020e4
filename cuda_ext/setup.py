"""Build the wheel of the shared library, for the PyTorch of the target environment."""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# pip does not add the project's folder to sys.path.
_SPEC = importlib.util.spec_from_file_location(
    "toolchain", Path(__file__).resolve().parent / "toolchain.py"
)
toolchain = importlib.util.module_from_spec(_SPEC)
sys.modules["toolchain"] = toolchain  # dataclasses look up their module here
_SPEC.loader.exec_module(toolchain)


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
            plan = toolchain.plan(toolchain.Torch.of_environment())
            with tempfile.TemporaryDirectory() as folder:
                library = toolchain.build(plan, Path(folder))
                target.write_bytes(library.read_bytes())
        except toolchain.BuildError as error:
            sys.exit(f"{error.output}headsplat_cuda_ext: {error}")
        if plan.no_cuda:
            print(f"headsplat_cuda_ext: for the CPU alone: {plan.no_cuda}", file=sys.stderr)
        arch = plan.torch.arch if plan.cuda else None
        facts = {"torch": plan.torch.version, "arch": arch, "no_cuda": plan.no_cuda}
        facts["sha256"] = toolchain.sha256(target)
        (target.parent / "build.json").write_text(json.dumps(facts) + "\n")


setup(
    ext_modules=[Extension("headsplat_cuda_ext.headsplat_ops", sources=[])],
    cmdclass={"build_ext": BuildLibrary},
)
