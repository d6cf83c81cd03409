"""The daemon: drives the pure rules of `protocol` with real IO. Read `daemon.py` first, then `parts.py`.

daemon.py      the life of one process: lock, credentials, listen, ready, stop
parts.py       what a node is made of, built and wired; situation.py what changes while it lives
config.py      typed configuration; data_dir.py the private directory of one daemon; ports.py which port, which address
runtime.py     SEAM: clock, randomness, blocking work
store.py       one SQLite file; books.py, tokens.py and agents/book.py put the parts' interfaces on it
keyring.py     the swarm's CA and this node's credentials, as files; admission.py admits, joining.py joins and renews
links/         SEAM: authenticated pipes to other nodes (`wss`, `memory`), and requests over them (`exchange`)
overlay/       who is there, who is near, how news travels
dht/           signed records on Kademlia
blobs.py       large values under the hash of their bytes, copied to peers, fetched from whoever holds them; blob_files.py their files
brains/        models; agents/ the agents that use them; council/ questions and receipts; memory.py what was answered before
runs/ cells/ tasks/   long jobs, grids of cells, what they work on
label/         a pile of text in, labels out
directory.py   the swarm as the council and replication ask about it
services.py    the same node as the HTTP API sees it; http/ serves it
events.py, metrics.py, figures.py   what happened, for people and programs
testing/       fakes that ship: virtual time, a simulated network, scripted brains
"""

__version__ = "0.1.0"
