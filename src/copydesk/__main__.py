"""`python -m copydesk`: the command line where the `copydesk` script is not on the path."""

from copydesk.cli import main

main()
