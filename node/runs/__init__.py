"""Long jobs: one life cycle for all of them.

    run.py       Run: what a job is at; Job: what a kind of run brings
    manager.py   RunManager: starts jobs, owns their tasks, forgets old ones

This package knows no kind of run; what can run registers itself (the grid in `node.cells`). State: `RunManager` owns every `Run`.
First form of the runs design: start and watch; pause, stop, live parameters, checkpoints and takeover come with the runs release.
"""
