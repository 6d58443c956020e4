"""What the Snakefile and the scripts of its rules share.

The library `headsplat` lies beside this folder and need not be installed: importing this package
makes it importable.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(1, _ROOT)
