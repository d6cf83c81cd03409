"""A grid of cells over the nodes of the swarm: each cell hears its neighbours and nobody else.

    grid.py    neighbourhoods and placement; pure
    cell.py    Cell: says, hears, proposes, scores, again and again
    post.py    Post: messages between nodes and within one, paced
    host.py    CellHost: the cells that live here, of anybody's runs
    home.py    GridJob: the node that started a run places its cells and gathers reports

Cell messages go from host to host; the home hears reports only. State: `CellHost` owns the cells here, `GridHome` the progress of runs
started here. First form of the grid: von Neumann neighbours without wrap, synchronous exchanges, scripted tasks, no takeover.
"""
