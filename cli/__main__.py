"""`python -m cli`: the same as `moot`, also from a clone that is not installed."""

from cli.main import main

main()
