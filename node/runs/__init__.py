"""Long jobs: one life cycle for all of them.

    run.py       Run: what a job is at; Job: what a kind of run brings
    manager.py   RunManager: starts jobs, owns their tasks, passes orders on, forgets old ones

This package knows no kind of run; what can run registers itself (the grid in `node.cells`). State: `RunManager` owns every `Run`, its
artifacts included (in memory, bounded). First form: start, watch, pause, resume, stop, live parameters and artifacts; a run ends with
the node that it was started on, for checkpoints are not replicated yet.
"""
