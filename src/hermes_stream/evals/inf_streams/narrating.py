"""The run: games narrated piece by piece, each piece once, however often the process ends in between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from hermes_stream.engine.commentary.narration import Narration, Remark
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError, HermesError, SnapshotError, TaskError
from hermes_stream.evals.inf_streams.games import Cut, Game
from hermes_stream.evals.inf_streams.spoken import Piece, RunLog, Said
from hermes_stream.evals.lineup import Entry
from hermes_stream.types import Frame
from hermes_stream.video import open_video

Mode = Literal["chunk", "infinite"]
Past = Literal["reference", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrateSetting:
    """How games are narrated.

    mode: chunk, every piece by a session that begins there; infinite, a whole game by one. past: the words that a
    session is given of before it: the transcript's, as published, or from the first piece on the model's own. Of these
    it is given `past_words`, the first and the last half; the release gives all, and its cache drops those between.
    instruction: None for the checkpoint's own. fps: None for the model's. The rest: see `Session.narrate`.
    """

    mode: Mode = "infinite"
    past: Past = "reference"
    past_words: int = 800
    instruction: str | None = None
    fps: float | None = None
    step_seconds: float = 1.0
    tokens_per_second: float = 20.0
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for a mode or a past that is none, or a rate that cannot be."""
        if self.mode not in ("chunk", "infinite") or self.past not in ("reference", "own"):
            raise ConfigError(
                f"mode {self.mode!r} with past {self.past!r}; expected chunk or infinite, reference or own"
            )
        if self.past_words < 0:
            raise ConfigError(f"past_words is {self.past_words}; expected 0 or more")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps is {self.fps}; expected a number above 0")


class Listener(Protocol):
    """Who wants to know how a run goes on."""

    def narrated(self, piece: Piece) -> None:
        """One more piece is on disk."""

    def failed(self, game: Game, error: HermesError) -> None:
        """A game cannot be narrated any further; its pieces so far stay."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece that is to be narrated."""

    start_seconds: int
    end_seconds: int


def parts_of(game: Game, cut: Cut) -> list[Part]:
    """What a game is narrated in: to the end of its transcript, or of its video if that comes first.

    Raises SourceError for a video that cannot be opened, TaskError for one that is over before narration begins.
    """
    with open_video(game.path, fps=None) as video:
        seconds = video.info.duration_seconds
    end = game.end_seconds if seconds is None else min(game.end_seconds, math.ceil(seconds))
    starts = range(cut.start_seconds, end, cut.segment_seconds)
    if not starts:
        raise TaskError(f"{game.name} ends at {end} s, before narration begins ({cut.start_seconds} s); see --start")
    return [Part(start, min(start + cut.segment_seconds, end)) for start in starts]


class Narrator:
    """One memory of one model narrates games into a log."""

    def __init__(self, engine: Engine, entry: Entry, setting: NarrateSetting, cut: Cut) -> None:
        self._engine, self._entry, self._setting, self._cut = engine, entry, setting, cut
        self._fps = engine.defaults.fps if setting.fps is None else setting.fps

    def settings(
        self, data_sha256: str, *, identity: Mapping[str, str | None], max_pixels: int | None = None
    ) -> dict[str, Any]:
        """What a run must say of how it was made. identity: of the weights. max_pixels: of a frame, where given."""
        facts = self._engine.model
        with self._entry.open(self._engine) as session:
            budget = session.policy.budget_tokens
            narration = self._narrate(session, 0, "")
        of_run = {**asdict(self._setting), "fps": self._fps, "instruction": narration.settings.instruction}
        who = {
            "model": facts.name,
            **{f"model_{name}": value for name, value in identity.items()},
            "dtype": str(facts.dtype).removeprefix("torch."),
            "quantization": facts.quantization,
            "max_pixels": max_pixels,
        }
        memory = {"policy": str(self._entry), "budget_tokens": budget}
        return {**who, **memory, **of_run, **asdict(self._cut), "data_sha256": data_sha256}

    def narrate(self, game: Game, parts: Sequence[Part], log: RunLog) -> Iterator[Piece]:
        """The pieces of a game that the log has not, each on disk when it comes."""
        session: Session | None = None
        try:
            for index in range(len(log.pieces(game.name)), len(parts)):
                part = parts[index]
                if session is not None and self._setting.mode == "chunk":
                    session.close()
                    session = None
                if session is None:
                    session, narration = self._begin(game, parts, index, log)
                is_last = index + 1 == len(parts)
                said = self._watch(narration, game, part, may_be_empty=is_last)
                piece = Piece(game.name, part.start_seconds, part.end_seconds, said)
                self._keep(session, log, piece, is_last=is_last)
                yield piece
        finally:
            if session is not None:
                session.close()

    def _begin(self, game: Game, parts: Sequence[Part], index: int, log: RunLog) -> tuple[Session, Narration]:
        if self._setting.mode == "infinite" and index > 0:
            session = self._restore(log, game, parts[index].start_seconds)
            return session, session.narrate()
        session = self._entry.open(self._engine)
        try:
            return session, self._narrate(session, parts[index].start_seconds, self._past(game, parts[index], log))
        except BaseException:
            session.close()
            raise

    def _restore(self, log: RunLog, game: Game, seconds: int) -> Session:
        try:
            return self._engine.restore(log.state_file(game.name, seconds))
        except SnapshotError as error:
            raise TaskError(
                f"{game.name} was narrated up to {seconds} s, and cannot be gone on with ({error}); delete its lines "
                f"from {log.folder} to begin it again"
            ) from error

    def _narrate(self, session: Session, start_seconds: int, previous: str) -> Narration:
        """A second draws the same numbers in both modes."""
        setting = self._setting
        return session.narrate(
            setting.instruction,
            previous=previous,
            step_seconds=setting.step_seconds,
            tokens_per_second=setting.tokens_per_second,
            temperature=setting.temperature,
            repetition_penalty=setting.repetition_penalty,
            seed=setting.seed + int(start_seconds / setting.step_seconds),
        )

    def _past(self, game: Game, part: Part, log: RunLog) -> str:
        if self._setting.past == "reference":
            return _ends_of(game.said_before(part.start_seconds), self._setting.past_words)
        own = [said.text for piece in log.pieces(game.name) for said in piece.said]
        return _ends_of(" ".join([game.said_before(self._cut.start_seconds), *own]), self._setting.past_words)

    def _watch(self, narration: Narration, game: Game, part: Part, *, may_be_empty: bool) -> tuple[Said, ...]:
        """Every piece opens the video anew, so that a run that is gone on with sees the same frames.

        may_be_empty: whether the video may be over, as one that ends a moment behind a piece.
        """
        with open_video(game.path, fps=self._fps, start_seconds=part.start_seconds) as video:
            remarks = list(narration.watch(_until(video, part.end_seconds)))
        if not remarks and not may_be_empty:
            raise TaskError(f"{game.name} has no pictures from {part.start_seconds} s on; download it again")
        return tuple(_said(remark) for remark in remarks if remark.text)

    def _keep(self, session: Session, log: RunLog, piece: Piece, *, is_last: bool) -> None:
        """The session first: a piece that is in the log can always be gone on from."""
        if self._setting.mode == "chunk" or is_last:
            log.put(piece)
            log.drop_states(piece.video)
            return
        state = log.state_file(piece.video, piece.end_seconds)
        state.parent.mkdir(exist_ok=True)
        session.snapshot().save(state)
        log.put(piece)
        log.drop_states(piece.video, but=state)


def narrate_all(
    narrator: Narrator, games: Sequence[tuple[Game, Sequence[Part]]], log: RunLog, listener: Listener
) -> int:
    """Narrate what is not done yet; a game that fails is told, and the others go on. Returns how many failed."""
    n_failed = 0
    for game, parts in games:
        try:
            for piece in narrator.narrate(game, parts, log):
                listener.narrated(piece)
        except HermesError as error:
            n_failed += 1
            listener.failed(game, error)
    return n_failed


def _ends_of(text: str, n_words: int) -> str:
    """A text without its middle, so that the first and the last words are left, half of each."""
    words = text.split()
    n_last = n_words // 2
    return " ".join(words if len(words) <= n_words else [*words[: n_words - n_last], *words[len(words) - n_last :]])


def _until(frames: Iterable[Frame], end_seconds: float) -> Iterator[Frame]:
    """Frames that are shown before a time."""
    for frame in frames:
        if frame.pts_seconds >= end_seconds:
            return
        yield frame


def _said(remark: Remark) -> Said:
    return Said(round(remark.start_seconds, 3), round(remark.end_seconds, 3), remark.text)
