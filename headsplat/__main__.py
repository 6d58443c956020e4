"""`python -m headsplat` is the command `headsplat`."""

import sys

from headsplat.command.main import main

if __name__ == "__main__":
    sys.exit(main())
