"""Which reader reads which kind of folder."""

from headsplat.formats.flame_head_tracker.reader import read_flame_head_tracker
from headsplat.formats.flashavatar.reader import read_flashavatar
from headsplat.formats.imavatar.reader import read_imavatar
from headsplat.formats.importing.clip import ReadClip
from headsplat.formats.metrical_tracker import read_metrical_tracker
from headsplat.formats.vhap.reader import read_vhap

# One entry for each of `headsplat.formats.importing.kinds.KINDS`.
READERS: dict[str, ReadClip] = {
    "metrical-tracker": read_metrical_tracker,
    "flame-head-tracker": read_flame_head_tracker,
    "imavatar": read_imavatar,
    "vhap": read_vhap,
    "flashavatar": read_flashavatar,
}
