"""Benchmarks: `python -m tests.bench` lists them, `python -m tests.bench NAME [--seeds N] [--json]` runs one.

A bar is a sentence of an issue or of the documentation turned into a number; its limit stands beside the reason in the
benchmark's source. Baselines run in the same process tree on the same work.

    report.py    Bar, Report, what machine this is, tables
    start.py     how fast commands and nodes start, how much memory an idle node takes
    ask.py       what a consensus costs: Gemma labelling, and the council's own overhead
    dht.py       gets and sets beside stock kademlia
    life_population.py  a virtual day of 2,000 agents on 200 nodes
"""
