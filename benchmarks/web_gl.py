"""Time the web page's GLSL on a GPU without a browser: EGL and OpenGL ES 3.

    python benchmarks/gl_recording.py --avatar results/demo/avatar --out 8.npz       # with chromium
    python benchmarks/gl_recording.py --avatar results/demo/avatar --out 16.npz --twice
    python benchmarks/web_gl.py 8.npz 16.npz                                         # on the GPU

Repeats the calls that the page's renderer made in chromium: uploads of weights, vertices and order,
placing, drawing and background. Needs numpy, the driver's libEGL_nvidia and libEGL.so.1 (Debian:
libegl1). In a row: mean time of frames without a wait between them. Waited: median of single frames
until the GPU has finished. A software renderer is refused without `--any`.
"""

import argparse
import ctypes as c
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FRAMES, SOFTWARE_FRAMES, TARGET = 500, 10, 1.0  # the target is milliseconds
_ES, _RENDERER, _FRAMEBUFFER, _DEVICE = 0x30A0, 0x1F01, 0x8D40, 0x313F
_RGBA, _RGBA8, _UNSIGNED_BYTE, _TEXTURE_2D, _ATTACHMENT = 0x1908, 0x8058, 0x1401, 0x0DE1, 0x8CE0
_NONE = 0x3038
_SOFTWARE = ("llvmpipe", "softpipe", "SwiftShader")
_FLOATS = ("uniform1f", "clearColor")
# Objects that OpenGL makes by number, and its name of them.
_MADE = {
    "createTexture": "GenTextures", "createBuffer": "GenBuffers",
    "createFramebuffer": "GenFramebuffers", "createVertexArray": "GenVertexArrays",
}  # fmt: skip
Call = Callable[[], Any]


def find_driver() -> None:
    """Name NVIDIA's library to libglvnd, which does not find it in containers without its file."""
    if "__EGL_VENDOR_LIBRARY_FILENAMES" in os.environ:
        return
    folders = [Path(p) for p in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/lib")]
    folders += [Path(p) for p in os.environ.get("LD_LIBRARY_PATH", "").split(":") if p]
    for library in (folder / "libEGL_nvidia.so.0" for folder in folders):
        if library.exists():
            driver = {"file_format_version": "1.0.0", "ICD": {"library_path": str(library)}}
            file = Path(tempfile.mkdtemp()) / "nvidia.json"
            file.write_text(json.dumps(driver))
            os.environ["__EGL_VENDOR_LIBRARY_FILENAMES"] = str(file)


class Context:
    """A context of OpenGL ES 3 without a window.

    Args:
        software: whether a renderer on the CPU will do.
    """

    def __init__(self, software: bool) -> None:
        find_driver()
        self.egl = c.CDLL("libEGL.so.1")
        pointers = ("eglGetProcAddress", "eglGetDisplay", "eglCreateContext")
        for name in (*pointers, "eglCreatePbufferSurface"):
            getattr(self.egl, name).restype = c.c_void_p
        self._found: dict[str, Any] = {}
        for display in self._displays():
            if not self._current(c.c_void_p(display)):
                continue
            name = self.function("GetString", c.c_char_p)(_RENDERER).decode()
            self.software = any(word in name for word in _SOFTWARE)
            if software or not self.software:
                self.name = name
                return
        sys.exit("no GPU through EGL; --any takes a software renderer")

    def function(self, name: str, result: Any = None) -> Any:
        """One of OpenGL's functions, without the `gl` of its name."""
        if name not in self._found:
            self._found[name] = self._address(f"gl{name}", result)
        return self._found[name]

    def _address(self, name: str, result: Any) -> Any:
        address = self.egl.eglGetProcAddress(name.encode())
        if not address:
            sys.exit(f"{name}: this driver lacks it")
        # Without types of arguments: each is passed as the ctypes object that it is.
        return c.CFUNCTYPE(result)(address)

    def _displays(self) -> Iterator[int]:
        """Of each GPU, then the default."""
        query = self._address("eglQueryDevicesEXT", c.c_uint)
        display = self._address("eglGetPlatformDisplayEXT", c.c_void_p)
        devices, count = (c.c_void_p * 16)(), c.c_int()
        query(c.c_int(16), devices, c.byref(count))
        found = [display(c.c_int(_DEVICE), c.c_void_p(d), None) for d in devices[: count.value]]
        for one in (*found, self.egl.eglGetDisplay(c.c_void_p(0))):
            if one and self.egl.eglInitialize(c.c_void_p(one), None, None):
                yield one

    def _current(self, display: c.c_void_p) -> bool:
        self.egl.eglBindAPI(_ES)
        config, count = c.c_void_p(), c.c_int()
        wanted = (c.c_int * 5)(0x3040, 0x40, 0x3033, 1, _NONE)  # OpenGL ES 3, pixel buffers
        self.egl.eglChooseConfig(display, wanted, c.byref(config), 1, c.byref(count))
        if not count.value:
            return False
        sides = (c.c_int * 5)(0x3057, 16, 0x3056, 16, _NONE)
        surface = c.c_void_p(self.egl.eglCreatePbufferSurface(display, config, sides))
        version = (c.c_int * 3)(0x3098, 3, _NONE)
        made = c.c_void_p(self.egl.eglCreateContext(display, config, None, version))
        return bool(made.value and self.egl.eglMakeCurrent(display, surface, surface, made))


class Recording:
    """A recording on a context: `frame()` repeats its frame.

    Args:
        context: where.
        path: file of `gl_recording.py`.
    """

    def __init__(self, context: Context, path: Path) -> None:
        self.context, self._keep = context, []
        with np.load(path) as file:
            self.image, self.alpha, self.count = file["image"], file["alpha"], int(file["count"])
            text, self._bytes = bytes(file["calls"]), file["bytes"]
        self.size = len(self.image)
        document = json.loads(text)
        self._objects: dict[int, c.c_uint] = {}
        self._canvas = self._framebuffer()
        for call in document["calls"][: document["frame"]]:
            self._run(*call)
        self._frame = [self._bound(*call) for call in document["calls"][document["frame"] :]]

    def frame(self) -> None:
        """Start one frame."""
        for call, values in self._frame:
            call(*values)

    def finish(self) -> None:
        """Wait for the GPU."""
        self.context.function("Finish")()

    def drawn(self) -> np.ndarray:
        """(H, W, 3) in 0..1, the image of the last frame."""
        pixels = np.zeros((self.size, self.size, 4), np.uint8)
        bind, read = self.context.function("BindFramebuffer"), self.context.function("ReadPixels")
        bind(c.c_uint(_FRAMEBUFFER), self._canvas)
        side = c.c_int(self.size)
        read(
            c.c_int(0), c.c_int(0), side, side, c.c_uint(_RGBA), c.c_uint(_UNSIGNED_BYTE),
            self._pointer(pixels),
        )  # fmt: skip
        return pixels[::-1, :, :3] / 255

    def _framebuffer(self) -> c.c_uint:
        """A target in place of the canvas."""
        texture, target = self._number("GenTextures"), self._number("GenFramebuffers")
        kind, side = c.c_uint(_TEXTURE_2D), c.c_int(self.size)
        self.context.function("BindTexture")(kind, texture)
        self.context.function("TexStorage2D")(kind, c.c_int(1), c.c_uint(_RGBA8), side, side)
        where = c.c_uint(_FRAMEBUFFER)
        self.context.function("BindFramebuffer")(where, target)
        attach = self.context.function("FramebufferTexture2D")
        attach(where, c.c_uint(_ATTACHMENT), kind, texture, c.c_int(0))
        return target

    def _number(self, name: str) -> c.c_uint:
        made = c.c_uint()
        self.context.function(name)(c.c_int(1), c.byref(made))
        return made

    def _run(self, name: str, values: list, result: Any) -> None:
        """A call that makes something."""
        if name in _MADE:
            self._objects[result["object"]] = self._number(_MADE[name])
            return
        if name.startswith("delete"):
            return
        call, arguments = self._bound(name, values, result)
        found = call(*arguments)
        if name in ("createShader", "createProgram", "getUniformLocation") and result is not None:
            self._objects[result["object"]] = c.c_uint(found)
        elif name == "getAttribLocation" and found != result:
            sys.exit("this driver numbers attributes in another way than chromium")

    def _bound(self, name: str, values: list, result: Any) -> tuple[Call, list]:
        """A function with its arguments, as OpenGL takes them."""
        call = self.context.function(name[0].upper() + name[1:], c.c_int)
        made = [self._argument(name, value) for value in values]
        if name == "bindFramebuffer" and values[1] is None:
            made[1] = self._canvas
        elif name == "shaderSource":
            text = c.c_char_p(values[1].encode())
            self._keep.append(text)
            made = [made[0], c.c_int(1), c.byref(text), None]
        elif name in ("uniform2fv", "uniform3fv", "uniform4fv", "uniformMatrix3fv"):
            made.insert(1, c.c_int(1))
        elif name == "drawBuffers":
            made.insert(0, c.c_int(len(values[0]["numbers"])))
        elif name == "bufferData":
            made = [made[0], c.c_ssize_t(values[1]), None, made[2]]
        elif name == "bufferSubData":
            made = [made[0], c.c_ssize_t(values[1]), c.c_ssize_t(4 * values[4]), made[2]]
        elif name == "vertexAttribIPointer":
            made[-1] = c.c_void_p(values[-1])
        return call, made

    def _argument(self, name: str, value: Any) -> Any:
        if isinstance(value, dict) and "object" in value:
            return self._objects[value["object"]]
        if isinstance(value, dict) and "numbers" in value:
            kind = np.uint32 if name == "drawBuffers" else np.float32
            return self._pointer(np.array(value["numbers"], kind))
        if isinstance(value, dict):
            return self._pointer(self._bytes[value["at"] : value["at"] + value["bytes"]])
        if isinstance(value, str):
            return c.c_char_p(value.encode())
        if value is None:
            return c.c_uint(0)
        return c.c_float(value) if name in _FLOATS else c.c_int(int(value))

    def _pointer(self, array: np.ndarray) -> c.c_void_p:
        self._keep.append(array)
        return array.ctypes.data_as(c.c_void_p)


def times(recording: Recording, count: int) -> tuple[float, float]:
    """Milliseconds of a frame: in a row, and waited for."""
    for _ in range(max(2, count // 10)):
        recording.frame()
    recording.finish()
    begin = time.perf_counter()
    for _ in range(count):
        recording.frame()
    recording.finish()
    row = (time.perf_counter() - begin) / count
    single = []
    for _ in range(count):
        begin = time.perf_counter()
        recording.frame()
        recording.finish()
        single.append(time.perf_counter() - begin)
    return 1000 * row, 1000 * statistics.median(single)


def rows_of(recording: Recording) -> list[dict[str, Any]]:
    """Rows of one recording: likeness to the library's image, and times."""
    context = recording.context
    count = SOFTWARE_FRAMES if context.software else FRAMES
    recording.frame()
    error = recording.drawn() - recording.image.clip(0, 1)
    failed = context.function("GetError", c.c_uint)()
    if failed:
        sys.exit(f"OpenGL error {failed:#x}")
    quality = -10 * np.log10(np.square(error[recording.alpha > 0.5]).mean())
    row, single = times(recording, count)
    what = f"{recording.count:,} Gaussians, {recording.size} px"
    machine = {"machine": context.name.split("/")[0]}
    worst = 255 * np.abs(error).max()
    return [
        {"what": f"{what}, PSNR of the head against the library", "value": round(quality, 1),
         "unit": "dB", "target": 50} | machine,
        {"what": f"{what}, worst level against the library", "value": round(float(worst), 1),
         "unit": "of 255", "target": 32} | machine,
        {"what": f"{what}, frame in a row", "value": round(row, 3), "unit": "ms",
         "target": TARGET} | machine,
        {"what": f"{what}, frame waited for", "value": round(single, 3), "unit": "ms",
         "target": TARGET} | machine,
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+", help="files of gl_recording.py")
    parser.add_argument("--any", action="store_true", help="take a software renderer")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    context = Context(args.any)
    rows = [row for path in args.recordings for row in rows_of(Recording(context, path))]
    for row in rows:
        print(f"{row['what']:60} {row['value']} {row['unit']}  target {row['target']}")
    if not context.software:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "web_gl_gpu.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
