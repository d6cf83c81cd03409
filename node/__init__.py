"""The daemon: drives the pure rules of `protocol` with real IO. Read `daemon.py` first.

daemon.py      composition root: builds every part from a Config and runs them in one TaskGroup
config.py      typed configuration
data_dir.py    the private directory of one daemon: lock, ports, api.json
runtime.py     SEAM: clock, randomness, blocking work
store.py       one SQLite file; books.py and agents/book.py put the parts' interfaces on it
ca.py          the swarm's CA and this node's credentials, as files; admission.py joins and admits
links/         SEAM: authenticated pipes to other nodes (`wss`, `memory`), and requests over them (`exchange`)
overlay/       who is there, who is near, how news travels
dht/           signed records on Kademlia
brains/        models; agents/ the agents that use them; council/ questions and receipts
runs/ cells/ tasks/   the grid in its first form
directory.py   the swarm as the council and replication ask about it
services.py    the same node as the HTTP API sees it; http/ serves it
events.py, metrics.py   what happened, for people and programs
testing/       fakes that ship: virtual time, a simulated network, scripted brains
"""

__version__ = "0.1.0"
