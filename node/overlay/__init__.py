"""The overlay: who is there, who is near, and how news travels. First form; HyParView, Plumtree and SWIM replace its rules later.

    members.py      the newest signed announcement of every node, its state (alive, suspect, dead, left) and address;
                    a dead one that said it would be back is shown as stopped
    neighbours.py   keeps up to five symmetric neighbours, dials bootstrap addresses with back-off, probes who is silent
    announcer.py    says who this node is, every few seconds and soon after a change
    broadcast.py    floods signed gossip to the neighbours, each statement once

`members` owns the membership table, `neighbours` the active view, `broadcast` the seen-cache. The daemon wires their callbacks.
"""
