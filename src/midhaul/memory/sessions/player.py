"""Session simulator: players that fill their buffers over recorded links.

Each player downloads one chunk after the other, waits while its buffer is full, and
stalls when it is empty. All players of a call ask for their next chunk together, so
that a scheme, and the predictor behind it, is asked once for all of them.

What it leaves out: TCP, viewers who leave, chunks that are given up. A link is as fast
as its recording says, however much is asked of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.sessions.base import N_KNOWN, Players
from midhaul.model import Tally
from midhaul.model.display import Display, Shown, counted
from midhaul.stats import bootstrap, paired_bootstrap, ratio_statistic

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.sessions.base import Abr
    from midhaul.memory.sessions.ladder import Ladder
    from midhaul.memory.sessions.links import RecordedLinks
    from midhaul.model import Estimate
    from midhaul.stats import Difference, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerSettings:
    """What players are like.

    Attributes:
        most_s: what the buffer holds; a player waits while there is no room.
        rtt_s: what each chunk takes before its first byte.
        n_chunks: of each session.
        n_ahead: chunks that a scheme plans for.

    Raises:
        ConfigError: one is not above 0, or the round trip is below it.
    """

    most_s: float = 15.0
    rtt_s: float = 0.05
    n_chunks: int = 150
    n_ahead: int = 5

    def __post_init__(self) -> None:
        """Check that a session can be played."""
        if not (self.most_s > 0 and self.rtt_s >= 0) or self.n_chunks < 1:
            message = f"expected a buffer and chunks, found {self}"
            raise ConfigError(message, "most_s=15, rtt_s=0.05, n_chunks=150")
        if self.n_ahead < 1:
            message = f"n_ahead: expected 1 chunk or more, found {self.n_ahead}"
            raise ConfigError(message, "n_ahead=5")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begins:
    """Where sessions begin: ``n`` places on links.

    Attributes:
        link: ``(n,)`` number of the link.
        time_s: ``(n,)`` since its trace began.
        chunk: ``(n,)`` of the video.
    """

    link: Int64[np.ndarray, " n"]
    time_s: Float64[np.ndarray, " n"]
    chunk: Int64[np.ndarray, " n"]


def drawn_begins(
    links: RecordedLinks, ladder: Ladder, n_per_link: int, rng: np.random.Generator
) -> Begins:
    """Sessions that begin anywhere on each link, and anywhere in the video."""
    link = np.repeat(np.arange(links.n), n_per_link)
    return Begins(
        link=link,
        time_s=rng.random(len(link)) * links.length_s[link],
        chunk=rng.integers(len(ladder.sizes_bytes), size=len(link)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PlayedSessions(Shown):
    """What became of ``n`` sessions of ``c`` chunks.

    Attributes:
        abr: the scheme.
        link: ``(n,)`` where each was played.
        stall_s: ``(n,)`` without a picture, once it had begun.
        play_s: ``(n,)`` with one.
        startup_s: ``(n,)`` until the first chunk had come.
        quality: ``(n,)`` mean over its chunks.
        variation: ``(n,)`` mean size of the change from one chunk to the next.
        rung: ``(n, c)`` of each chunk.
        took_s: ``(n, c)`` how long each took.
        tallies: what was assumed.
    """

    abr: str
    link: Int64[np.ndarray, " n"]
    stall_s: Float64[np.ndarray, " n"]
    play_s: Float64[np.ndarray, " n"]
    startup_s: Float64[np.ndarray, " n"]
    quality: Float64[np.ndarray, " n"]
    variation: Float64[np.ndarray, " n"]
    rung: Int64[np.ndarray, "n c"]
    took_s: Float64[np.ndarray, "n c"]
    tallies: tuple[Tally, ...] = ()

    @property
    def stalled_share(self) -> float:
        """Stalls over the time watched, all sessions together."""
        return float(self.stall_s.sum() / (self.stall_s + self.play_s).sum())

    def stalled(self) -> Statistic:
        """The stalled share, as a function of how often each link counts."""
        n = int(self.link.max()) + 1
        stalls = np.bincount(self.link, self.stall_s, n)
        return ratio_statistic(stalls, stalls + np.bincount(self.link, self.play_s, n))

    def mean_quality(self) -> Statistic:
        """The mean quality, as a function of how often each link counts."""
        n = int(self.link.max()) + 1
        sums = np.bincount(self.link, self.quality * self.play_s, n)
        return ratio_statistic(sums, np.bincount(self.link, self.play_s, n))

    def estimates(
        self, rng: np.random.Generator, n_resamples: int = 1000
    ) -> tuple[Estimate, Estimate]:
        """Stalled share and mean quality, with intervals by link."""
        n = int(self.link.max()) + 1
        return (
            bootstrap(self.stalled(), n, rng, n_resamples=n_resamples),
            bootstrap(self.mean_quality(), n, rng, n_resamples=n_resamples),
        )

    def _display(self) -> Display:
        text = (
            f"{self.abr}: {counted(len(self.link), 'session')} of "
            f"{counted(self.rung.shape[1], 'chunk')}, {self.stalled_share:.3%} "
            f"stalled, quality {self.quality.mean():.2f}"
        )
        return Display(text=text)


def stall_difference(
    one: PlayedSessions,
    other: PlayedSessions,
    rng: np.random.Generator,
    n_resamples: int = 1000,
) -> Difference:
    """Stalled share of one less that of another, on the same links, by link.

    DataError if they were not played on the same links.
    """
    if not np.array_equal(one.link, other.link):
        message = f"{one.abr} and {other.abr} were not played on the same links"
        raise DataError(message, "give both the same begins")
    n = int(one.link.max()) + 1
    return paired_bootstrap(
        one.stalled(), other.stalled(), n, rng, n_resamples=n_resamples
    )


def play(
    abr: Abr,
    links: RecordedLinks,
    ladder: Ladder,
    begins: Begins,
    settings: PlayerSettings | None = None,
) -> PlayedSessions:
    """Play a session at each begin.

    Args:
        abr: chooses the rungs, from the second chunk on.
        links: what chunks come over.
        ladder: the video.
        begins: of the sessions.
        settings: of the players.

    Returns:
        What became of them.

    Raises:
        DataError: there is no session, a begin is not on its link, or the scheme
            chooses a rung that there is not.
        ConfigError: the buffer cannot hold a chunk.
    """
    settings = settings or PlayerSettings()
    _check(links, ladder, begins, settings)
    n, n_chunks = len(begins.link), settings.n_chunks
    players = _Playing(links, ladder, begins, settings)
    rung = np.zeros(n, np.int64)
    rungs = np.empty((n, n_chunks), np.int64)
    took_s = np.empty((n, n_chunks))
    quality = np.empty((n, n_chunks))
    for chunk in range(n_chunks):
        if chunk:
            rung = np.asarray(abr.choose(players.now()), np.int64)
            is_there = (rung >= 0) & (rung < ladder.n_rungs)
            if rung.shape != (n,) or not is_there.all():
                message = f"{abr.name}: expected rungs from 0 to {ladder.n_rungs - 1}"
                raise DataError(message, f"found {rung[:8]}")
        took_s[:, chunk], quality[:, chunk] = players.fetch(rung)
        rungs[:, chunk] = rung
    return PlayedSessions(
        abr=abr.name,
        link=begins.link,
        stall_s=players.stall_s,
        play_s=np.full(n, n_chunks * ladder.chunk_s),
        startup_s=took_s[:, 0].copy(),
        quality=quality.mean(axis=1),
        variation=np.abs(np.diff(quality, axis=1)).mean(axis=1)
        if n_chunks > 1
        else np.zeros(n),
        rung=rungs,
        took_s=took_s,
        tallies=(players.went_round(),),
    )


def _check(
    links: RecordedLinks, ladder: Ladder, begins: Begins, settings: PlayerSettings
) -> None:
    if settings.most_s < ladder.chunk_s:
        message = (
            f"most_s: expected a buffer for a chunk of {ladder.chunk_s} s, found "
            f"{settings.most_s}"
        )
        raise ConfigError(message, "give the players a larger buffer")
    is_there = (begins.link >= 0) & (begins.link < links.n) & (begins.chunk >= 0)
    is_time = np.isfinite(begins.time_s) & (begins.time_s >= 0)
    if not len(begins.link) or not (is_there & is_time).all():
        message = (
            f"expected sessions on links from 0 to {links.n - 1}, from a time and a "
            "chunk of at least 0 on"
        )
        raise DataError(message, "drawn_begins(links, ladder, n_per_link, rng)")


class _Playing:
    """The state of all players; chunk by chunk."""

    def __init__(
        self,
        links: RecordedLinks,
        ladder: Ladder,
        begins: Begins,
        settings: PlayerSettings,
    ) -> None:
        n = len(begins.link)
        self._links, self._ladder, self._begins = links, ladder, begins
        self._settings = settings
        self._n_past = 0
        self._time_s = begins.time_s.astype(np.float64)
        self._buffer_s = np.zeros(n)
        self._past = np.zeros((3, n, N_KNOWN))
        self._last_quality = np.zeros(n)
        self.stall_s = np.zeros(n)

    def _chunks(self, n: int) -> Int64[np.ndarray, "n h"]:
        ahead = self._n_past + np.arange(n)
        return (self._begins.chunk[:, None] + ahead) % len(self._ladder.sizes_bytes)

    def now(self) -> Players:
        """What a scheme is told."""
        chunks = self._chunks(self._settings.n_ahead)
        return Players(
            n_past=self._n_past,
            buffer_s=self._buffer_s,
            past_bytes=self._past[0],
            past_s=self._past[1],
            past_buffer_s=self._past[2],
            last_quality=self._last_quality,
            sizes_bytes=self._ladder.sizes_bytes[chunks],
            quality=self._ladder.quality[chunks],
            chunk_s=self._ladder.chunk_s,
            most_s=self._settings.most_s,
        )

    def fetch(
        self, rung: Int64[np.ndarray, " n"]
    ) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Download a chunk; how long each took, and how good it looks."""
        chunk = self._chunks(1)[:, 0]
        size = self._ladder.sizes_bytes[chunk, rung]
        asked_s = self._time_s + self._settings.rtt_s
        took_s = self._settings.rtt_s + self._links.took_s(
            self._begins.link, asked_s, size
        )
        if self._n_past:
            self.stall_s += np.maximum(took_s - self._buffer_s, 0)
        filled_s = np.maximum(self._buffer_s - took_s, 0) + self._ladder.chunk_s
        wait_s = np.maximum(filled_s - self._settings.most_s, 0)
        self._time_s = self._time_s + took_s + wait_s
        self._buffer_s = filled_s - wait_s
        latest = np.stack([size, took_s, self._buffer_s])[..., None]
        n_new = 1 if self._n_past else N_KNOWN
        shown = np.broadcast_to(latest, (3, len(size), n_new))
        self._past = np.concatenate([self._past[..., n_new:], shown], axis=2)
        self._n_past += 1
        self._last_quality = self._ladder.quality[chunk, rung]
        return took_s, self._last_quality

    def went_round(self) -> Tally:
        """How many sessions lasted longer than their trace."""
        length_s = self._links.length_s[self._begins.link]
        begin_s = self._begins.time_s % length_s
        lasted_s = self._time_s - self._begins.time_s
        return Tally(
            what="sessions went on behind the end of their trace, which began anew",
            n=int((begin_s + lasted_s > length_s).sum()),
            of=len(length_s),
            max_share=1.0,
            advice="Give longer traces, or play fewer chunks.",
        )
