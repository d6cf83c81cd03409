"""A pile of text in, labels out, corrections in between. Start reading at `desk.py`.

    views.py      texts and their embeddings -> the vectors that learners look at (MiniLM, n-grams, both)
    heads.py      the learners: logistic heads on a view, label spreading over the graph of the whole pile
    graph.py      the nearest-neighbour graph of a view, and spreading over it
    panel.py      heads vote log-probabilities; pooled, weighted and calibrated on corrections held back; "none of these"
    calibration.py  how sure the pool may be, and how good the labels are: a posterior over its temperature
    guests.py     voters too dear to read every row: let in by a bet on the user's answers, asked where the heads are unsure
    fewshot.py    a language model as a guest: agents with corrections as examples, and votes from their log-probabilities
    invitation.py asking guests: in the background about the pile, under a deadline about new texts
    around.py     what labelling asks of the rest of the node: hosted brains, capacity, names, events
    room.py       whether a node has room for the learners of a project that another one started
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

What is a first form here. Two things are divided among machines: the reading (embedding) of rows, which is nearly all of the time, and
who has a project's learners: its home always, another node when it hears of corrections and has room (`room.py`), else it declines and
passes what it is asked on to one that has them. Dividing them means that each such node makes learners of its own from the same rows and
signed corrections (they agree but for rows on the edge): no trained weights travel, and a project's learners are not split. Who has them is
what nodes say of themselves when they catch up, shown by `moot label show`, on the screen, and as an event `labelling`. Any member may
correct.
A guest (a language model or a remote brain that reads the least sure rows, `guests.py`) is asked by each node that hosts its brain, for
the learners of that node; one that is let in also votes on new texts put to that node, and an answer says when it was late. What a guest
has won is kept in memory only: a node that restarts tries it anew on the corrections to come. Which are let in: `docs/benchmarks/label.md`.
"""
