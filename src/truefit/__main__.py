"""`python -m truefit`, which is how torchrun starts the command."""

import sys

from truefit.commands import main

if __name__ == "__main__":
    sys.exit(main())
