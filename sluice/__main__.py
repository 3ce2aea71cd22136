"""`python -m sluice` is `sluice`."""

from sluice.cli import main

main()
