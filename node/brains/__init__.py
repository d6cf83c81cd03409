"""Models that agents think with. The only importers of torch and JAX, each at the moment it is loaded.

    base.py         the contract, one page: Brain, Genome, Ask, Choice; read this first
    registry.py     brains by name, and the line-up of a node that was told nothing
    tiny.py         `tiny:mlp`, the seed experiment's network; learns from feedback and divides
    head.py         `tiny:head`, 100k parameters over random features; learns from "right" and "wrong" alone;
                    head_genome.py how heads' genomes begin, change and mix
    views.py        what a head sees of a text or an embedding; replay.py what it learns again; stack.py weights of many in one array
    embedder.py     texts -> vectors; embedders.py each loaded once a process, and the one that the swarm pins
    losses.py       how wrong a head is about what it was told
    remote.py       any OpenAI-compatible server; remote_logprobs.py votes from the log-probabilities that it gives
    gemma/          Gemma in JAX, all agents of a node in one batch
    edits.py        how language agents' genomes change and mix
    examples.py     the shipped bank of solved questions that few-shot agents are born with (`examples.jsonl`)

A brain holds weights and no agents: whatever makes an agent lies in its genome, which the agent host owns.
"""
