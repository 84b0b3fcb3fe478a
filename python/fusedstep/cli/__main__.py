"""``python -m fusedstep.cli``."""

import sys

from . import main

sys.exit(main())
