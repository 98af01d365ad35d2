"""`python -m striate` is the command `striate`."""

from striate.cli import main

main()
