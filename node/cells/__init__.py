"""A grid of cells over the nodes of the swarm: each cell hears its neighbours and nobody else.

    grid.py      topologies; pure (placement is `protocol.placement`)
    cell.py      Cell: says, hears, proposes, scores, again and again
    choosers.py  who picks a cell's moves: the task's script, chance, a bandit, a model; personas
    post.py      Post: messages between nodes and within one, paced
    host.py      CellHost: the cells that live here, of anybody's runs
    home.py      GridJob: a run's home places its cells, gathers reports, moves cells as nodes go and come
    progress.py  what the cells of one run have reported
    pictures.py  heat maps, packings, curves; drawn in a process of its own

Cell messages go from host to host; the home hears reports only. State: `CellHost` owns the cells here, `GridHome` the progress of runs
whose home is here. A run outlives its home (`node.runs.succession`). First form: capacity is a node's number of cores; prompts and replies
of cells are not in the checkpoint.
"""
