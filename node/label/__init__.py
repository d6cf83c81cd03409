"""A pile of text in, labels out, corrections in between. Start reading at `desk.py`.

    views.py      texts and their embeddings -> the vectors that learners look at (MiniLM, n-grams, both)
    heads.py      the learners, built from genomes: logistic heads on a view, label spreading over the graph of the whole pile
    pupils.py     logistic heads taught on, by what the pool thinks of rows that nobody answered; they vote in place of their heads
    discriminant.py  the shape of the labels in the pile, learnt from what the pool thinks of it; votes beside the heads
    lineup.py     which heads vote: founders, and children that corrections held back show to help
    births.py     heads divide onto machines with room: when, where, and what becomes of the children
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
    sharing.py    a project lives in the swarm: signed statements (corrections, heads, distrust) by gossip, and catching up
    hearing.py    which statements of other nodes are taken
    comparing.py  what another node lacks
    pools.py      the rows that learners are made of, as blobs that every node fetches and keeps
    whereabouts.py  who holds a project and who has its learners: by what nodes say, and in the DHT for those who never heard
    projects.py   which projects this node knows: its own, the swarm's, and those that it looks up
    intake.py     a pile comes in, is read by whoever helps, and is given to the swarm
    standing.py   how a project stands, for people
    desk.py       questions out, answers in, labels out; what the HTTP handlers call, put together from the parts above
    lending.py    a node that does not hold a project asks one that does
    assemble.py   how a node's parts make a desk

How heads live. A head is its genome (`protocol/heads.py`): kind, view, seed of its n-gram hashing and random features,
hyper-parameters, parent, generation; canonical, named by its hash, bounded when it is decoded. Genomes are kept with the project and
signed by the node that bore the head, so that a node that catches up builds exactly these heads and not what its own version would begin
with. Weights do not travel: they follow from genome, rows and corrections in seconds, while weights from a peer would have to be
trusted, or computed again to be checked, and would be stale with the next correction. Corrections held back show how fit each head is
(log-loss, accuracy: `moot label stats`). A head that is clearly fitter divides: its mutated child is born on a machine that took room for
the project's learners, on the home only where there is no other. The child is tried there, and its bearer proposes it only if the pool
is better with it by more than chance; then every node builds it, and lets it vote while its own held-back corrections show a gain. The
least fit child beyond capacity dies. Divisions have not been found to make labels better: see `docs/benchmarks/label.md`.

What is a first form here. Two things are divided among machines: the reading (embedding) of rows, which is nearly all of the time, and
who has a project's learners: its home always, another node when it hears of corrections and has room (`room.py`), else it declines and
passes what it is asked on to one that has them. Each such node builds all voting heads, so heads are born and tried on different
machines but a pool is not split among them; a logistic head has 5,000 to 80,000 weights at 12 to 77 labels, not yet 100,000. What a
genome does not say (buckets, directions of the n-grams, steps of a fit) is of the version of the code. Nodes measure at different
moments: whether a child votes may differ between two of them until the next measurement. Who has learners is what nodes say of
themselves when they catch up, shown by `moot label show`, on the screen, and as an event `labelling`. Any member may correct; `stats`
shows how many corrections came from which machine, and `moot label distrust` takes those of one out. A correction that a distrusted one
had replaced comes back only from a node that never heard the latter, and labels that it brought stay among the project's (1,000 at most).
A guest (a language model or a remote brain that reads the least sure rows, `guests.py`) is asked by each node that hosts its brain, for
the learners of that node; one that is let in also votes on new texts put to that node, and an answer says when it was late. What a guest
has won is kept in memory only: a node that restarts tries it anew on the corrections to come. Which are let in: `docs/benchmarks/label.md`.
"""
