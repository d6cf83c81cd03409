"""The swarm's shared memory: a Kademlia DHT of signed records, spoken in authenticated datagrams.

Built on the PyPI `kademlia` package (this package is its only importer): its `Node`, `KBucket`, `RoutingTable`, storage interface
and protocol class, subclassed where measurement showed them broken. What differs from it, and why:

- a peer is its certificate: ids are hashes of keys and cannot be chosen, strangers get no answer (stock: any id, any address);
- nearest-k is exact (stock: recall 0.8); a stored key is handed to a new nearer node as itself (stock hashes it a second time);
- a call survives cancellation, is sent again while unanswered, accepts an answer only from the address asked and of the type asked
  for; what a peer may call is a table (stock: any attribute name);
- values are records with many writers, merged by rule (stock: last writer wins, whoever it is), with absolute expiries and quotas;
- whoever is lost is tried again for ever (stock: one bootstrap ping).

    limits.py      token buckets, per source
    sessions.py    Sessions: handshakes and frames of every peer; bytes in, bytes out, no IO
    rpc.py         KadProtocol: requests and answers over sessions; owns routing table and sessions
    table.py       Table: exact nearest-k over kademlia's buckets; which addresses are worth asking
    lookup.py      NodeCrawl, ValueCrawl: the iterative look-up
    placement.py   who holds a record; bringing it there
    storage.py     Storage: the records this node holds; ContactBook and RecordBook, what survives a restart
    memory.py      those books in memory, for simulated nodes
    join.py        Join: bootstrap addresses and lost contacts, greeted for ever with back-off
    upkeep.py      Upkeep: hand-over, republishing, refresh, expiry, saving
    service.py     Dht: the facade; read this first

First forms, said plainly: time-outs are fixed, look-ups are neither hedged nor disjoint, a holder found stale is not repaired
by the reader, a contact goes after its first failed call, and there is no cap per address range.
"""
