"""How different an agent's answers are from those of the agents beside it: what keeps one family from being all there is."""

from __future__ import annotations

from collections.abc import Sequence

from node.agents.agent import Agent

SMOOTHING = 0.05
"""Weight of one question in an agent's novelty."""


def note_novelty(agents: Sequence[Agent], logprobs: Sequence[Sequence[float]]) -> None:
    """After one question: each agent's share of the others that chose something else, into its running mean."""
    chosen = [max(range(len(own)), key=own.__getitem__) if own else None for own in logprobs]
    voters = [(agent, choice) for agent, choice in zip(agents, chosen, strict=True) if choice is not None]
    if len(voters) < 2:
        return
    counts: dict[int, int] = {}
    for _, choice in voters:
        counts[choice] = counts.get(choice, 0) + 1
    for agent, choice in voters:
        apart = 1.0 - (counts[choice] - 1) / (len(voters) - 1)
        agent.novelty += SMOOTHING * (apart - agent.novelty)
