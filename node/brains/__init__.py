"""Models that agents think with. The only importers of torch and JAX, each at the moment it is loaded.

    base.py         the contract, one page: Brain, Genome, Ask, Choice; read this first
    registry.py     brains by name, and the line-up of a node that was told nothing
    tiny.py         the seed experiment's network; learns from feedback and divides
    remote.py       any OpenAI-compatible server
    gemma/          Gemma in JAX, all agents of a node in one batch
    examples.py     the shipped bank of solved questions that few-shot agents are born with (`examples.jsonl`)

A brain holds weights and no agents: whatever makes an agent lies in its genome, which the agent host owns.
"""
