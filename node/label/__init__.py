"""A pile of text in, labels out, corrections in between. Start reading at `desk.py`.

    views.py      texts and their embeddings -> the vectors that learners look at (MiniLM, n-grams, both)
    heads.py      the learners: logistic heads on a view, label spreading over the graph of the whole pile
    graph.py      the nearest-neighbour graph of a view, and spreading over it
    panel.py      heads vote log-probabilities; pooled, weighted and calibrated on corrections held back; "none of these"
    calibration.py  how sure the pool may be, and how good the labels are: a posterior over its temperature
    guests.py     voters too dear to read every row: weighed on held-back corrections, asked where the heads are unsure
    fewshot.py    a language model as a guest: agents with corrections as examples, and votes from their log-probabilities
    invitation.py asking a guest: what to read, its votes, what the panel makes of them
    teacher.py    which rows to ask the user about: coverage first, then margin, density and diversity
    bench.py      one project's learners in memory: what to ask, what was learnt, how rows are labelled
    vectors.py    embeddings as bytes, checked
    book.py       projects, rows, vectors and corrections in SQLite (the owner of all durable state, but for the blobs of pools)
    crew.py       spreads batches of rows over the nodes of the swarm, checks what comes back, survives nodes that vanish
    benches.py    the learners in memory, of this node's projects and of those that others started
    sharing.py    a project lives in the swarm: signed corrections by gossip, rows as blobs, and catching up
    desk.py       the projects of this node: rows in, questions out, answers in, labels out; what the HTTP handlers call
    lending.py    a node that does not hold a project asks one that does
    assemble.py   how a node's parts make a desk

What is a first form here: other nodes share the reading (embedding) of rows, which is nearly all of the time; every node then keeps
learners of its own, rebuilt from the same rows and corrections (they agree but for rows on the edge), instead of dividing them among
machines with room. Any member may correct.
A guest (`guests.py`, a language model that reads the least sure rows) votes on rows of the pile that it read, not on new texts; the desk
does not invite guests yet: measured, the 270M made labels worse.
"""
