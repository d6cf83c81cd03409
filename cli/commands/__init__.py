"""One file a command, imported when it is typed (the table is in `cli.main`).

Every file has a Typer `app` whose commands return an exit code or None for 0. `up.py` is the only one that imports the daemon; it also
holds `join`, which is `up` with a bootstrap address.
"""
