"""Agents: who lives on this node, how they answer, how they divide onto other nodes.

    agent.py        Agent: a genome with a history; its row in the book; how ids are made
    genome.py       bytes <-> genome, everything checked before anything is loaded
    fitness.py      Beta posteriors over ratings, in all and per topic, fading
    raters.py       who is believed
    book.py         AgentBook: durable agents; the one in the node's SQLite file
    notebook.py     Notebook: what was learnt beside genomes, written behind
    population.py   Population: at most `capacity` agents, places reserved, births, deaths, writing behind
    worker.py       BrainWorker: one brain, one call at a time, everything that waits in one batch
    answers.py      a question as asks, what a brain says as a vote
    canaries.py     what measuring on the canaries decides (is the prior taken out?)
    measurer.py     measuring in the background, once per genome; its files
    feedback.py     a rating as credit and as a lesson
    describe.py     agents and brains for announcements and the HTTP API
    host.py         AgentHost: all of the above as the council and the API see it; read this first
    replication.py  Replicator: division, the parent's side, and the protocol drawn
    nursery.py      Nursery: division, the foster node's side
    limits.py       a rate per minute
    selection.py    who dies first, and how soon one may divide; novelty.py how different an agent answers
    mating.py       who has a child with whom, and from what the child starts
    files.py        export, import, lineage for people
    seed.py         the seed experiment, replayed in one process

State: `Population` owns the agents, each `BrainWorker` its brain and queue, `Replicator` open offers, `Nursery` reservations. Written
for one event loop; brains run in worker threads and see genomes, which never change in place.
"""
