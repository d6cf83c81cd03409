"""A node that does not hold a project, or embeds in another way, asks the living nodes for one who does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from node.links.exchange import Exchange
from protocol.errors import Malformed, NotFound, PeerError, Refused, UserError
from protocol.identity import Member, NodeId
from protocol.labelling import RowLabel
from protocol.messages import JudgeRows, RowJudgements

ANSWER_S = 20.0

Judge = Callable[[str, list[str]], Awaitable[list[RowLabel]]]


class Lending:
    """Asks others, and answers others with `judge`."""

    def __init__(self, me: NodeId, exchange: Exchange, living: Callable[[], list[NodeId]]) -> None:
        self._me = me
        self._exchange = exchange
        self._living = living

    def serve(self, judge: Judge) -> None:
        """From now on others are answered; `judge` must not ask others in turn."""

        async def answer(peer: Member, message: JudgeRows) -> RowJudgements:
            try:
                return RowJudgements(msgspec.msgpack.encode(await judge(message.project, message.texts)))
            except UserError as error:
                raise Refused(error.code or "label", str(error)) from error

        self._exchange.on(JudgeRows, answer)

    async def judge(self, project: str, texts: list[str], learners: Sequence[NodeId] = ()) -> list[RowLabel]:
        """The first node that knows the project answers, those with its `learners` before others. Raises `NotFound` when none does."""
        for node in sorted(self._living(), key=lambda node: node not in learners):
            if node == self._me:
                continue
            try:
                answer = await self._exchange.request(node, JudgeRows(project, texts), ANSWER_S)
                return _checked(answer, len(texts))
            except PeerError:  # not that one; the next may know it
                continue
        raise NotFound(f"No living node keeps the labelling project {project}: `moot label ls` lists those of a node.")


def _checked(answer: object, count: int) -> list[RowLabel]:
    if not isinstance(answer, RowJudgements):
        raise Malformed("labels were asked for")
    try:
        rows = msgspec.msgpack.decode(answer.data, type=list[RowLabel])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"labels that cannot be read: {error}") from error
    if len(rows) != count or not all(0 <= row.confidence <= 1 for row in rows):
        raise Malformed("not one sound label for each text")
    return rows
