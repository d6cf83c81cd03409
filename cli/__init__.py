"""The command line: a client of the HTTP API.

    main.py       `run()`: the lazy table of commands, and how an error becomes one sentence and an exit code
    target.py     which daemon a command means, and how it prints
    files.py      what a command writes: whole or not at all
    invitation.py where a join line is to be typed
    options.py    options that several commands share, declared once
    client.py     HTTP with the standard library (aiohttp would cost a third of the start-up time)
    render.py     answers, runs, nodes and agents on the screen; the demo uses it too. render_label.py: labelling projects
    tables.py     what these are made of: tables, facts, values as people write them
    label_screen.py  the questions of `moot label`, answered with a key; pile.py: files of rows, read as a stream and written back
    daemons.py    daemons on this machine as processes: start one detached, wait until one is gone
    child.py      daemons that live no longer than the command that started them
    checks.py     what `moot doctor` looks at on this machine; reach.py: and elsewhere
    demo_label.py the demo's last act; packings.py: how far a packing is from the best known
    commands/     one file a command, imported when it is typed

Only `commands/up.py` runs a node. Everything heavy (rich, cryptography, msgspec's shapes) is imported by the command that needs it.

Results go to stdout, messages and progress to stderr. Exit codes: 0 ok, 1 error, 2 usage, 3 daemon unreachable, 4 abstained or no quorum,
5 not authorised, 130 interrupted.
"""
