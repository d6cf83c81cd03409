"""The pure rules: no sockets, files, clock or randomness; time, bytes and generators are arguments. Read `errors.py` and `codec.py` first.

errors.py, codec.py, messages/   the error tree, bytes <-> message, what nodes say to each other (a file for each conversation)
identity.py, token.py, admission.py, session.py, address.py   who a node is, how it gets in, sessions over datagrams
records.py, placement.py         signed records and their merge; who works on what, without asking anybody
ballots.py, aggregate.py, weights.py, leanings.py, calibration.py, topics.py, verdict.py   from votes to an answer and a confidence
receipts.py, verification.py     the proof of an answer, and how it is checked offline
memories.py, spots.py, pins.py   answers of before, as records; where they lie; what a founder settles for good
lineage.py, births.py, homes.py  descent of agents, how many births a swarm bears, where an agent lives
checkpoints.py                   what another node needs to go on with a run
corrections.py, heads.py         signed corrections of a labelling project; genomes of its learners
api/, labelling.py, openai_api.py   JSON of the HTTP API, of `/v1/labelling`, and in OpenAI's shapes
"""
