"""Run the command line with ``python -m fusedstep.cli``."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
