"""The HTTP API's JSON shapes, shared by server, command line and `/openapi.json`. Version 1, stable from the day it first works.

    faults.py   errors in OpenAI's shape, health, and limits that every route shares.
    nodes.py    a node, its peers, what starts and stops it.
    agents.py   agents, their descent, and the seed's experiment replayed.
    council.py  questions, answers, feedback on them, and canaries.
    memory.py   the shared memory: memories found by meaning, and raw records of the DHT.
    runs.py     long jobs: runs, their cells, artifacts and tasks.

Labelling's shapes stand in `protocol/labelling.py`, OpenAI's in `protocol/openai_api.py`. Ids are base32 text. Unknown fields in a request
are refused. Errors have OpenAI's shape: `{"error": {...}}`.
"""
