"""Agents: who lives on this node, how they answer, divide onto other nodes, move, and outlive their node.

    agent.py        Agent: a genome with a history; its row in the book; how ids are made
    founding.py     a descent for agents that were written down before there was any
    genome.py       bytes <-> genome, everything checked before anything is loaded
    fitness.py      Beta posteriors over ratings, in all and per topic, fading
    raters.py       who is believed
    book.py         AgentBook: durable agents; the one in the node's SQLite file
    behind.py       WriteBehind: changes put on disk a little later, and once more at the end
    notebook.py     Notebook: what was learnt beside genomes, written behind
    population.py   Population: at most `capacity` agents, places reserved, births, deaths, writing behind
    worker.py       BrainWorker: one brain, one call at a time, everything that waits in one batch
    answers.py      a question as asks, what a brain says as a vote
    canaries.py     what measuring on the canaries decides (is the prior taken out?)
    measurer.py     measuring in the background, once per genome; its files
    feedback.py     a rating as credit and as a lesson
    describe.py     agents and brains for announcements and the HTTP API
    host.py         AgentHost: all of the above as the council and the API see it; read this first
    handover.py     Handover: giving an agent to another node exactly once, the protocol drawn
    replication.py  Replicator: division, the parent's side
    nursery.py      Nursery: the host's side of a division or a move
    limits.py       a rate per minute; BirthRule: the swarm's birth budget (`protocol.births`) as this node keeps to it
    capacity.py     how many agents fit, from memory, cores and the brains' time
    state.py        a grown agent as bytes, and all that is checked when such bytes come in
    homes.py        Homes: each agent's record in the DHT and its checkpoint on peers
    absence.py      Absence: with whom this node was out of touch, and for how long
    rebirth.py      Rebirth: agents of dead nodes live on; of two copies one gives way
    migration.py    Migration: agents move before their node leaves
    seams.py        what agents ask of the rest of the node
    selection.py    who dies first, and how soon one may divide; novelty.py how different an agent answers
    mating.py       who has a child with whom, and from what the child starts
    files.py        export, import, lineage for people
    seed.py         the seed experiment, replayed in one process

State: `Population` owns the agents and unborn children, each `BrainWorker` its brain and queue, `Handover` open offers, `Nursery`
reservations, `BirthRule` what was let in this minute, `Homes` what the DHT was told. Written for one event loop; brains run in worker
threads and see genomes, which never change in place.
"""
