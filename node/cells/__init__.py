"""A grid of cells over the nodes of the swarm: each cell hears its neighbours and nobody else.

    grid.py      topologies; pure (placement is `protocol.placement`)
    cell.py      Cell: says, hears, proposes, scores, again and again
    choosers.py  who picks a cell's moves: the task's script, chance, a bandit
    minds.py     or a model: moves by constrained log-probabilities, or whole solutions in words; all cells of a node ask together
    personas.py  who a cell is: traits from a grammar, spread by success
    traces.py    what a model's cell was told and chose; the mutual information of messages and moves
    brains.py    the node's brains, as cells use them
    post.py      Post: messages between nodes and within one, paced
    host.py      CellHost: the cells that live here, of anybody's runs
    job.py       GridJob: grid runs as the run manager knows them; their parameters
    home.py      GridHome: a run's home places its cells, gathers reports, moves cells as nodes go and come
    progress.py  what the cells of one run have reported
    results.py   what a run leaves behind
    pictures.py  heat maps, packings, curves, moves by message; drawn in a process of its own

Cell messages go from host to host; the home hears reports only. State: `CellHost` owns the cells here, `GridHome` the progress of runs
whose home is here. A run outlives its home (`node.runs.succession`). First form: capacity is a node's number of cores; prompts and replies
of cells are not in the checkpoint.
"""
