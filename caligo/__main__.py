"""`python -m caligo` is the `caligo` command."""

from __future__ import annotations

import sys

from caligo.cli import main

if __name__ == "__main__":
    sys.exit(main())
