"""Which reader reads which kind of folder."""

from headsplat.imports.clip import ReadClip
from headsplat.imports.flame_head_tracker import read_flame_head_tracker
from headsplat.imports.flashavatar import read_flashavatar
from headsplat.imports.imavatar import read_imavatar
from headsplat.imports.metrical_tracker import read_metrical_tracker
from headsplat.imports.vhap import read_vhap

# One entry for each of `headsplat.imports.kinds.KINDS`.
READERS: dict[str, ReadClip] = {
    "metrical-tracker": read_metrical_tracker,
    "flame-head-tracker": read_flame_head_tracker,
    "imavatar": read_imavatar,
    "vhap": read_vhap,
    "flashavatar": read_flashavatar,
}
