"""The council: how a question becomes a receipt.

A question goes through these, in this order:

    request.py    a request as people write it, checked; every refusal names the cause and the remedy
    seating.py    which agents sit on the panel: all nodes, several families, fit ones more often
    convener.py   the asking side: call, commit, reveal, aggregate, receipt; one deadline for all of it
    hearing.py    one question while it is being asked: what has come in, how much time is left
    panel.py      the answering side: commits to its agents' votes, shows them once all have committed
    trust.py      how far a panel's certainty can be believed: its answers to the canaries, and the map fitted on them
    canaries.py   the questions with known answers that the package ships (canaries.jsonl)
    feedback.py   a person's rating back to the agents that voted
    council.py    `Council`, the way in for HTTP and daemon

    proofs.py     membership proofs, each verified once
    receipts.py   where receipts are kept (in memory; the daemon has them in its database)
    seams.py      what the council needs of agents, overlay, links and store, as protocols

Rules live in `protocol`: ballots (what is signed), aggregate, calibration, verdict, receipts, verification. State: the panel owns
open ballots, trust owns canary answers and fitted maps, proofs its cache; the convener keeps nothing between questions.

Choices made where the design is silent. The first phase may take the whole deadline less a reserve: a node that hangs delays
the answer until then, one that is dead does not (hedging comes later). Votes weigh 1 each; `Seat.weight` is where trust will act.
"""
