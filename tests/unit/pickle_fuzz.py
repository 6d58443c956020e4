"""Feeds mutants and random programs of opcodes to every door that reads pickles.

    python -m tests.unit.pickle_fuzz FOLDER SEED COUNT

A process of its own, so that a crash is seen; its memory is bounded. It ends with status 0 if each
file gave a value or a `UserError` of one short line.
"""

import os
import pickle
import random
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError

from .pickle_samples import DOORS, make_samples, mutated, rezipped, walk

ROOM = 768 << 20  # bytes beyond what the imports take
SLOWEST = 20.0  # seconds for one small file: a hang, and no busy machine
LONGEST = 400  # characters of a message beside the path
GLOBALS = [
    "numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar", "_codecs encode", "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch FloatStorage",
    "torch.storage _load_from_bytes", "copyreg _reconstructor", "builtins object", "builtins set",
    "chumpy.ch Ch", "scipy.sparse.csc csc_matrix", "os system", "builtins eval",
]  # fmt: skip
TEXTS = ["f8", "O8", "V64", "i1", "U3", "<", "|", "latin1", "b", "storage", "0", "cpu", "x",
         "touch ran-by-a-pickle", "__import__('os').system('touch ran-by-a-pickle')"]  # fmt: skip


class Program:
    """A random program that keeps its stack: most of it can be run.

    Args:
        chance: the randomness.
        named: whether it names globals.
    """

    def __init__(self, chance: random.Random, named: bool = True) -> None:
        self.chance, self.named = chance, named
        self.code = bytearray(b"\x80\x04")
        self.depth, self.marks, self.memo = 0, [], 0

    def made(self, steps: int) -> bytes:
        """The program, of so many steps."""
        for _ in range(steps):
            self._step()
        while self.marks:
            self._close(b"t")
        while self.depth > 1:
            self._add(b"\x86", -1)
        return bytes(self.code + (b"." if self.depth else b"N."))

    def _add(self, code: bytes, change: int) -> None:
        self.code += code
        self.depth += change

    def _close(self, code: bytes) -> None:
        self.depth = self.marks.pop() + 1
        self.code += code

    def _step(self) -> None:
        pick = self.chance.random()
        if pick < 0.45:
            self._push()
        elif pick < 0.55:
            self._add(b"(", 0)
            self.marks.append(self.depth)
            self.depth = 0
        elif pick < 0.65 and self.marks:
            self._close_some()
        elif pick < 0.72 and self.depth:
            self._add(b"q" + bytes([self.memo % 256]), 0)
            self.memo += 1
        elif pick < 0.80 and self.memo:
            self._add(b"h" + bytes([self.chance.randrange(min(self.memo, 256))]), 1)
        else:
            self._combine()

    def _close_some(self) -> None:
        below = self.marks[-1]
        code = self.chance.choice(["t", "l", "d", "t", "e", "u", "\x90", "\x91"]).encode("latin-1")
        if code in b"eu\x90":
            if below:
                self.marks.pop()
                self.depth = below
                self.code += code
        elif code != b"d" or self.depth % 2 == 0:
            self._close(code)

    def _push(self) -> None:
        chance = self.chance
        text = chance.choice(TEXTS).encode()
        codes = [
            b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f",
            b"K" + bytes([chance.randrange(256)]),
            b"J" + struct.pack("<i", chance.choice((-1, 0, 3, 8, 1 << 30))),
            b"I%d\n" % chance.choice((0, 1, 10**15)), b"G" + struct.pack(">d", 0.5),
            b"X" + struct.pack("<I", len(text)) + text, b"U" + bytes([len(text)]) + text,
            b"C" + bytes([size := chance.choice((0, 1, 8, 16))]) + chance.randbytes(size),
            b"\x8a\x05" + chance.randbytes(5), b"S'abc'\n",
        ]  # fmt: skip
        if self.named:
            module, name = chance.choice(GLOBALS).split()
            codes += [f"c{module}\n{name}\n".encode()] * 8
            codes.append(_array(chance))
        self._add(chance.choice(codes), 1)

    def _combine(self) -> None:
        chance = self.chance
        codes = [(b"\x85", 1, 0), (b"\x86", 2, -1), (b"\x87", 3, -2), (b"a", 2, -1), (b"s", 3, -2),
                 (b"0", 1, -1), (b"2", 1, 1)]  # fmt: skip
        if self.named:
            codes += [(b"R", 2, -1), (b"R", 2, -1), (b"\x81", 2, -1), (b"b", 2, -1), (b"b", 2, -1),
                      (b"\x85R", 2, -1), (b"Q", 1, 0)]  # fmt: skip
        code, needs, change = chance.choice(codes)
        if self.depth >= needs:
            self._add(code, change)


def _array(chance: random.Random) -> bytes:
    """The code of a whole array, right or nearly so."""
    kind = chance.choice(("f8", "i4", "u1", "U2", "S3", "O8", "V8"))
    size = chance.randrange(4)
    array = np.zeros(size, "O" if kind == "O8" else kind)
    data = pickle.dumps(array, 2)[2:-1]
    if chance.random() < 0.3:
        at = chance.randrange(len(data))
        data = data[:at] + chance.randbytes(1) + data[at + 1 :]
    return data


def older_file(program: bytes) -> bytes:
    """torch's file of before 1.6 with a program as its value."""
    magic = 0x1950A86A20F9469CFC6C
    start = [pickle.dumps(part, 2) for part in (magic, 1001, {"little_endian": True})]
    return b"".join(start) + program + pickle.dumps([], 2)


def compare_with_pickle(program: bytes, folder: Path) -> None:
    """A program that names nothing gives what Python's own reader gives, or an error.

    By their texts, in which NaN equals itself, and 1 neither 1.0 nor True.
    """
    try:
        theirs = pickle.loads(program, encoding="latin1")
    except Exception:
        theirs = None
    path = folder / "case.pkl"
    path.write_bytes(program)
    try:
        ours = DOORS[".pkl"][0](path)
    except UserError:
        return
    assert repr(ours) == repr(theirs), program


def try_file(path: Path) -> None:
    """Read a file by all its doors; anything but a value or a `UserError` is raised."""
    for door in DOORS[path.suffix]:
        start = time.monotonic()
        try:
            walk(door(path))
        except UserError as error:
            line = str(error)
            assert "\n" not in line, line
            assert line.isprintable(), line
            assert len(line) < LONGEST + len(str(path)), line
        assert time.monotonic() - start < SLOWEST, door


def one_case(chance: random.Random, samples: list[Path], folder: Path) -> Path:
    """Write a case; returns it."""
    source = chance.choice(samples)
    path = folder / f"case{source.suffix}"
    data = source.read_bytes()
    zipped = data.startswith(b"PK")
    pick = chance.random()
    if pick < 0.45:
        others = [other.read_bytes() for other in samples]
        inner = zipped and chance.random() < 0.7

        def change(content: bytes) -> bytes:
            return mutated(content, chance, others)

        data = rezipped(data, change) if inner else change(data)
    else:
        program = Program(chance).made(chance.choice((5, 20, 60)))
        if zipped:
            data = rezipped(data, lambda _: program)
        elif path.suffix == ".npy":
            data = data[:128] + program
        else:
            data = older_file(program) if path.suffix == ".pth" else program
    path.write_bytes(data)
    return path


def main() -> None:
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.chdir(folder)
    samples_folder = folder / "samples"
    samples_folder.mkdir()
    make_samples(samples_folder)
    samples = sorted(samples_folder.iterdir())
    for sample in samples:
        try_file(sample)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        path = one_case(chance, samples, folder)
        try:
            try_file(path)
            compare_with_pickle(Program(chance, named=False).made(30), folder)
        except BaseException:
            print(f"case {number} of seed {seed}: {path}", file=sys.stderr)
            raise
    assert not Path("ran-by-a-pickle").exists()


if __name__ == "__main__":
    main()
