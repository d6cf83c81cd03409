"""Pipes to other machines.

    base.py      the seam: Link, LinkFactory, and how long a link waits for a peer (STALL_S, SILENCE_S)
    wss.py       links as WebSockets over mutual TLS 1.3; one listener for members and for visitors
    door.py      that listener's defences: how many strangers, for how long
    visit.py     a short conversation with a listener without having a link to it: joining, renewing
    websocket.py the client side both share, and what its failures mean
    tls.py       SSL contexts made of credentials; a peer's certificate
    memory.py    the same contract over the simulated network (imports node.testing; the daemon never imports it)
    exchange.py  requests and one-way messages over links dialled on demand, shared per peer
    courier.py   what parts that talk to other nodes ask of an exchange

A factory owns its listeners and links until they are closed; the exchange owns every link it was handed.
"""
