"""Games narrated piece by piece: what a run is told, what it writes, and that a second start goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError, HermesError, SourceError, TaskError
from hermes_stream.evals.inf_streams.games import Cut, Game, load_inf_streams
from hermes_stream.evals.inf_streams.narrating import NarrateSetting, Narrator, Part, narrate_all, parts_of
from hermes_stream.evals.inf_streams.spoken import PIECES_FILE, Piece, RunLog
from hermes_stream.evals.lineup import Entry
from hermes_stream.video import open_video
from tests.evals.inf_streams.published import NAMES, SEGMENT, START, write

CUT = Cut(START, SEGMENT, 1)
MODES = ("chunk", "infinite")


class Listener:
    """Remembers what was told; may end the run after some pieces, as a kill would."""

    def __init__(self, ends_after: int | None = None) -> None:
        self.pieces: list[Piece] = []
        self.failures: list[tuple[str, str]] = []
        self._ends_after = ends_after

    def narrated(self, piece: Piece) -> None:
        self.pieces.append(piece)
        if len(self.pieces) == self._ends_after:
            raise KeyboardInterrupt

    def failed(self, game: Game, error: HermesError) -> None:
        self.failures.append((game.name, str(error)))


def run(
    engine: Engine, data: Path, out: Path, listener: Listener, memory: str = "sliding-window", **setting: Any
) -> None:
    loaded = load_inf_streams(data, CUT)
    narrator = Narrator(
        engine, Entry(memory, 64), NarrateSetting(**{"tokens_per_second": 2, "temperature": 0.8, **setting}), CUT
    )
    with RunLog(out, narrator.settings(loaded.sha256, identity={})) as log:
        narrate_all(narrator, [(game, parts_of(game, CUT)) for game in loaded.games], log, listener)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings with which commentaries are begun."""
    begun: list[dict[str, Any]] = []
    narrate = Session.narrate

    def spy(self: Session, instruction: str | None = None, **given: Any) -> Any:
        begun.append(given)
        return narrate(self, instruction, **given)

    monkeypatch.setattr(Session, "narrate", spy)
    return begun


@dataclass(frozen=True)
class Whole:
    """A run that nothing ended."""

    folder: Path
    pieces: list[Piece]


@pytest.fixture(scope="module")
def whole_of(engine: Engine, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    """The run of a mode, made once."""

    @cache
    def make(mode: str) -> Whole:
        folder = tmp_path_factory.mktemp(mode)
        run(engine, data, folder, listener := Listener(), mode=mode)
        assert listener.failures == []
        return Whole(folder, listener.pieces)

    return make


@pytest.mark.parametrize("mode", MODES)
def test_every_piece_of_every_video_is_narrated_in_order(whole_of: Callable[[str], Whole], mode: str) -> None:
    pieces = whole_of(mode).pieces
    found = [(piece.video, piece.start_seconds, piece.end_seconds) for piece in pieces]
    assert found == [(name, start, end) for name in NAMES for start, end in ((2, 6), (6, 10), (10, 12))]
    for piece in pieces:
        assert piece.said
        assert all(piece.start_seconds < said.end_seconds <= piece.end_seconds for said in piece.said)


@pytest.mark.parametrize(("mode", "ends_after"), [("chunk", 2), ("infinite", 1), ("infinite", 5)])
def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(
    engine: Engine, data: Path, tmp_path: Path, whole_of: Callable[[str], Whole], mode: str, ends_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(engine, data, tmp_path, before := Listener(ends_after), mode=mode)
    run(engine, data, tmp_path, after := Listener(), mode=mode)
    assert before.pieces + after.pieces == whole_of(mode).pieces, "nothing is narrated twice, and nothing otherwise"
    assert (tmp_path / PIECES_FILE).read_bytes() == (whole_of(mode).folder / PIECES_FILE).read_bytes()
    assert list(tmp_path.glob("state/*")) == [], "sessions of finished videos are dropped"


def test_a_run_that_ended_between_session_and_line_goes_on(
    engine: Engine, data: Path, tmp_path: Path, whole_of: Callable[[str], Whole], monkeypatch: pytest.MonkeyPatch
) -> None:
    put, n_put = RunLog.put, iter(range(100))

    def dying(self: RunLog, piece: Piece) -> None:
        if next(n_put) == 1:
            raise KeyboardInterrupt
        put(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            run(engine, data, tmp_path, Listener())
    assert len(list((tmp_path / "state").iterdir())) == 2
    run(engine, data, tmp_path, after := Listener())
    assert after.pieces == whole_of("infinite").pieces[1:]


def test_a_finished_run_narrates_nothing(
    engine: Engine, data: Path, whole_of: Callable[[str], Whole], told: list[Any]
) -> None:
    folder = whole_of("chunk").folder
    told.clear()
    run(engine, data, folder, again := Listener(), mode="chunk")
    assert again.pieces == []
    assert len(told) == 1, "once, to learn the settings"


def test_infinite_is_one_session_that_is_told_what_was_said_before_it(
    engine: Engine, data: Path, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    run(engine, data, tmp_path, Listener(), mode="infinite")
    games = load_inf_streams(data, CUT).games
    assert [given["previous"] for given in told[1:]] == [game.said_before(START) for game in games]
    assert len(told[1]["previous"].split()) == 4


def test_each_chunk_is_told_the_transcript_before_it(
    engine: Engine, data: Path, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    run(engine, data, tmp_path, Listener(), mode="chunk")
    games = load_inf_streams(data, CUT).games
    wanted = [game.said_before(start) for game in games for start in (2, 6, 10)]
    assert [given["previous"] for given in told[1:]] == wanted


def test_a_chunk_may_be_told_its_own_words_instead(
    engine: Engine, data: Path, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    run(engine, data, tmp_path, listener := Listener(), mode="chunk", past="own")
    game = load_inf_streams(data, CUT).games[0]
    own = [" ".join(said.text for said in piece.said) for piece in listener.pieces]
    before = game.said_before(START)
    assert [given["previous"] for given in told[1:4]] == [before, f"{before} {own[0]}", f"{before} {own[0]} {own[1]}"]


def test_of_a_long_past_the_first_and_the_last_words_are_told(
    engine: Engine, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    words = [[n / 1000, n / 1000, f"w{n}"] for n in range(1500)] + [[11.0, 11.9, "end"]]
    run(engine, write(tmp_path / "data", words=[words, words]), tmp_path / "run", Listener(), past_words=5)
    assert told[1]["previous"] == "w0 w1 w2 w1498 w1499"


def test_a_chunk_without_a_past_is_a_commentary_of_that_part_alone(
    engine: Engine, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    """The oracle: a session that watches the same frames through the public front door."""
    silent = [[[11.0, 11.9, "end"]], [[11.0, 11.9, "end"]]]
    data = write(tmp_path / "data", words=silent)
    run(engine, data, tmp_path / "run", listener := Listener(), mode="chunk", temperature=0.0)
    piece = listener.pieces[1]
    with (
        Entry("sliding-window", 64).open(engine) as session,
        open_video(data / "videos" / NAMES[0], fps=engine.defaults.fps) as video,
    ):
        frames = [frame for frame in video if piece.start_seconds <= frame.pts_seconds < piece.end_seconds]
        remarks = session.narrate(tokens_per_second=2).watch(frames)
        assert [said.text for said in piece.said] == [remark.text for remark in remarks if remark.text]


def test_a_video_that_is_shorter_than_its_transcript_ends_with_its_pictures(engine: Engine, tmp_path: Path) -> None:
    data = write(tmp_path / "data", seconds=40)
    run(engine, data, tmp_path / "run", listener := Listener(), mode="chunk")
    assert [piece.end_seconds for piece in listener.pieces] == [6, 10, 12] * 2


def test_a_video_that_cannot_be_narrated_is_named_before(data: Path, tmp_path: Path) -> None:
    (game, _) = load_inf_streams(data, CUT).games
    with pytest.raises(TaskError, match=r"one\.mp4 ends at 12 s, before narration begins \(1000 s\); see --start"):
        parts_of(game, Cut())
    with pytest.raises(SourceError):
        parts_of(Game("x.mp4", tmp_path / "x.mp4", game.words), CUT)


def test_a_video_that_declares_more_than_it_holds_is_named(engine: Engine, data: Path, tmp_path: Path) -> None:
    game = load_inf_streams(data, CUT).games[0]
    narrator = Narrator(engine, Entry("sliding-window", 64), NarrateSetting(tokens_per_second=2), CUT)
    parts = [Part(6, 10), Part(20, 24), Part(24, 28)]
    with RunLog(tmp_path, {}) as log:
        narrate_all(narrator, [(game, parts)], log, listener := Listener())
    assert [piece.start_seconds for piece in listener.pieces] == [6]
    assert listener.failures == [(NAMES[0], "one.mp4 has no pictures from 20 s on; download it again")]


def failing_from(seconds: float) -> Callable[..., Any]:
    """`open_video`, until a file breaks."""

    def opened(path: Path, *, fps: float | None, start_seconds: float = 0.0) -> Any:
        if path.name == NAMES[0] and start_seconds >= seconds:
            raise SourceError("the disk is gone")
        return open_video(path, fps=fps, start_seconds=start_seconds)

    return opened


def test_a_video_that_fails_halfway_loses_nothing_and_the_others_go_on(
    engine: Engine, data: Path, tmp_path: Path, whole_of: Callable[[str], Whole], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = whole_of("infinite")
    with monkeypatch.context() as patch:
        patch.setattr("hermes_stream.evals.inf_streams.narrating.open_video", failing_from(6))
        run(engine, data, tmp_path / "run", first := Listener())
    assert first.failures == [(NAMES[0], "the disk is gone")]
    assert first.pieces == [whole.pieces[0], *whole.pieces[3:]]
    run(engine, data, tmp_path / "run", second := Listener())
    assert second.pieces == whole.pieces[1:3]


def test_a_lost_session_is_told_and_not_narrated_over(engine: Engine, data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(engine, data, tmp_path, Listener(1))
    for state in (tmp_path / "state").iterdir():
        state.write_bytes(b"damaged")
    run(engine, data, tmp_path, after := Listener())
    ((name, error),) = after.failures
    assert name == NAMES[0]
    assert "was narrated up to 6 s, and cannot be gone on with" in error
    assert [piece.video for piece in after.pieces] == [NAMES[1]] * 3


def test_settings_that_change_what_is_said_need_another_folder(
    engine: Engine, data: Path, whole_of: Callable[[str], Whole]
) -> None:
    with pytest.raises(ConfigError, match=r"holds a run with tokens_per_second 2, not 4"):
        run(engine, data, whole_of("chunk").folder, Listener(), mode="chunk", tokens_per_second=4)


@pytest.mark.parametrize(
    "given", [{"mode": "both"}, {"past": "none"}, {"fps": 0.0}, {"past_words": -1}, {"fps": float("nan")}]
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        NarrateSetting(**given)
