"""One file a resource; each function is the handler of one row of the route table in `node.http.app`.

    health.py    healthz, readyz, metrics
    node.py      node, peers, agents
    council.py   consensus, feedback, receipts: the only one that limits how much runs at once
    dht.py       the shared memory
    tokens.py    join tokens (admin)
    memory.py    answers of before, and canaries
    runs.py      runs and tasks
    label.py     labelling projects, and questions put to one
    control.py   broadcast, stop, leave (the latter two admin)

A handler takes a `Call`, asks one service and returns a struct; it owns no state.
"""
