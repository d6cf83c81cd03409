"""What changes while a node lives and several of its parts look at."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.identity import Credentials


@dataclass(slots=True)
class Situation:
    """What changes while the node lives."""

    credentials: Credentials
    admin_token: str
    notices: list[str] = field(default_factory=list)
    address: str = ""
    ready: bool = False
    leaving: bool = False
    """For good."""
    stopping: bool = False
    """For a while: it says so before it goes."""
