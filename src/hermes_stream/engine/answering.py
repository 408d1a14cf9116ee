"""Questions under way: from their start to the last token, or to what ends them early."""

from __future__ import annotations

from hermes_stream.engine.admission import Ledger
from hermes_stream.engine.faults import for_asker
from hermes_stream.engine.jobs import AskJob
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import SessionClosed
from hermes_stream.types import Answer, Turn


class Answering:
    """Unfinished answers, the oldest question first. Whatever goes wrong with one is put into its channel."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asks: list[AskJob] = []

    def __len__(self) -> int:
        return len(self._asks)

    def start(self, job: AskJob) -> None:
        """Pin the version that the question is asked of: all frames that are in at this moment."""
        try:
            job.stream.check_running()
            self._ledger.pin(job.stream, job.begin())
            self._asks.append(job)
        except BaseException as error:  # it is the asker's to handle: the engine's thread must live on
            job.channel.end(for_asker(error))

    def n_of(self, stream: Stream) -> int:
        """How many are about a stream."""
        return sum(ask.stream is stream for ask in self._asks)

    def new(self) -> list[AskJob]:
        """Questions without a first token yet."""
        return [ask for ask in self._asks if not ask.begun.has_begun]

    def decoding(self) -> list[AskJob]:
        return [ask for ask in self._asks if ask.begun.has_begun]

    def advance(self, ask: AskJob, token: int | Exception) -> None:
        """Take the token that was chosen after a forward, or why there is none."""
        try:
            if isinstance(token, Exception):
                raise token
            result = ask.begun.accept(token)
            if result is not None:
                self._asks.remove(ask)
                if ask.remember and isinstance(result, Answer):
                    turn = Turn(ask.query.text, ask.query.meant_by(result.text), result.time_seconds)
                    ask.stream.history = (turn,)
                ask.channel.end(result)
        except BaseException as error:
            self.end(ask, error)

    def end(self, ask: AskJob, error: BaseException) -> None:
        self._asks.remove(ask)
        ask.channel.end(for_asker(error))

    def drop_cancelled(self) -> None:
        for ask in [ask for ask in self._asks if ask.channel.is_cancelled]:
            self.end(ask, SessionClosed("the answer was cancelled"))

    def forget(self, stream: Stream, error: BaseException) -> None:
        for ask in [ask for ask in self._asks if ask.stream is stream]:
            self.end(ask, error)

    def forget_all(self, error: BaseException) -> None:
        for ask in list(self._asks):
            self.end(ask, error)
