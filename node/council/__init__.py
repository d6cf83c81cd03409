"""The council: how a question becomes a receipt.

A question goes through these, in this order:

    request.py    a request as people write it, checked; every refusal names the cause and the remedy
    seating.py    which agents sit on the panel: all nodes, several families, fit ones more often
    convener.py   the asking side: call, commit, reveal, aggregate, receipt; one deadline for all of it
    hearing.py    one question while it is being asked: what has come in, how much time is left
    panel.py      the answering side: commits to its agents' votes, shows them once all have committed
    trust.py      how far a panel's certainty can be believed: its answers to the canaries, and the map fitted on them
    ledger.py     who has been right so far: own observations, and what other members published, capped and decayed
    examiner.py   hidden canaries, asked like any question in the wake of real ones
    archive.py    other nodes' receipts, found through the DHT and verified before they are shown
    canaries.py   the questions with known answers that the package ships (canaries.jsonl)
    feedback.py   a person's rating back to the agents that voted
    council.py    `Council`, the way in for HTTP and daemon

    proofs.py     membership proofs, each verified once
    receipts.py   kept receipts, opened again, and a place for them in memory (the daemon has them in its database)
    seams.py      what the council needs of agents, overlay, links and store, as protocols

Rules live in `protocol`: ballots (what is signed), weights, leanings, aggregate, calibration, verdict, receipts, verification. State: the
panel owns open ballots, trust owns canary answers and fitted maps, the ledger owns observations, proofs its cache; the convener keeps
nothing between questions.

Choices made where the design is silent. A node that takes three times as long as the median is slow: a spare on another node is asked
in its place, once, and the phase ends when as many agents have committed as were wanted. Where there is no spare a node that hangs
delays the answer until the share of the deadline is over. Weights come from hidden canaries and feedback alone: what a node says of its
own agents' answers to the shipped canaries calibrates confidence and teaches leanings, and never makes a vote heavier. Others' ratings
can silence an agent here; only what this node saw itself can turn its votes against it. First forms: the evidence behind a weight is
the convener's signed word (a verifier recomputes the weight from it, not it from its sources); memories are quoted in the question's
system text, which brains that only score choices may not read; the kind is read from English questions only.
"""
