"""`python -m sdali.cli`: the `sdali` command for launchers that take a module, such as torchrun."""

import sys

from .main import main

sys.exit(main())
