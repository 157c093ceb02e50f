"""`python -m sagviz.cli`."""

import sys

from sagviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
