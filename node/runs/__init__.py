"""Long jobs: one life cycle for all of them.

    run.py          Run: what a job is at; Job: what a kind of run brings
    manager.py      RunManager: starts jobs, owns their tasks, passes orders on, goes on with those of others, forgets old ones
    succession.py   Succession: checkpoints on other nodes, the record in the DHT, who takes a run over when its home is gone
    claims.py       Claims: who is the home of each run, as far as this node has heard; the fence

This package knows no kind of run; what can run registers itself (the grid in `node.cells`). State: `RunManager` owns every `Run`, its
artifacts included (in memory, bounded); `Succession` the checkpoints that are watched here, their bytes lie in `node.blobs`. Formats:
`protocol.checkpoints`. First form: artifacts are made at the end, where the run is then, and stay there; other nodes name a run's home
but do not pass requests on to it.
"""
