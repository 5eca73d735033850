"""`python -m aios_actors.cli` is `aios-actors`."""

import sys

from aios_actors.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
