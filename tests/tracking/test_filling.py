"""Filling gaps of tracks in a file."""

import numpy as np
import pytest

from eyewright.core.tracks import Tracks
from eyewright.tracking import FillSettings, fill_tracks

ROWS = [(f, 1, 10.0 * f, 0, 10.0 * f + 20, 40) for f in (1, 2, 3, 6, 7, 8)]


def test_a_gap_is_filled_by_straight_lines() -> None:
    found = fill_tracks(Tracks.of(ROWS), seconds_per_frame=0.1)
    assert found.frames.tolist() == list(range(1, 9))
    assert found.boxes_xyxy[:, 0] == pytest.approx(10.0 * np.arange(1, 9))
    assert set(found.ids.tolist()) == {1}


def test_a_gap_is_measured_in_seconds() -> None:
    settings = FillSettings(gap_s=0.7)
    assert len(fill_tracks(Tracks.of(ROWS), seconds_per_frame=0.2, settings=settings)) == 8
    assert len(fill_tracks(Tracks.of(ROWS), seconds_per_frame=0.3, settings=settings)) == 6


def test_the_rows_own_times_count_where_they_are_known() -> None:
    tracks = Tracks.of(ROWS)
    times = np.array([0.0, 0.1, 0.2, 5.2, 5.3, 5.4])
    late = Tracks(tracks.frames, tracks.ids, tracks.boxes_xyxy, tracks.scores, tracks.label_ids, times_s=times)
    assert len(fill_tracks(late, seconds_per_frame=0.1)) == 6


def test_short_tracks_are_dropped_but_not_in_a_short_sequence() -> None:
    short = [(f, 2, 0, 0, 5, 5) for f in (3, 4)]
    found = fill_tracks(Tracks.of(ROWS + short), seconds_per_frame=0.1)
    assert set(found.ids.tolist()) == {1}
    assert len(fill_tracks(Tracks.of(short), seconds_per_frame=0.1, n_frames=2)) == 2


def test_tracks_that_few_of_their_frames_show_are_dropped() -> None:
    steady = [(f, 1, 0, 0, 20, 40) for f in range(1, 61)]
    rare = [(f, 2, 90, 0, 99, 40) for f in range(1, 61, 3)]
    found = fill_tracks(Tracks.of(steady + rare), seconds_per_frame=0.1)
    assert set(found.ids.tolist()) == {1}
    kept = fill_tracks(Tracks.of(steady + rare), seconds_per_frame=0.1, settings=FillSettings(least_seen=0))
    assert np.count_nonzero(kept.ids == 2) == 58
    # Of frames that were skipped nothing is expected: where one in three was read, a box in each of those is all.
    alone = fill_tracks(Tracks.of(rare), seconds_per_frame=0.1)
    assert len(alone) == 58


def test_rows_of_two_tracks_are_never_joined() -> None:
    other = [(f, 2, 500, 0, 520, 40) for f in range(12, 18)]
    found = fill_tracks(Tracks.of(ROWS + other), seconds_per_frame=0.1)
    assert len(found) == 8 + 6
    assert found.frames.tolist() == sorted(found.frames.tolist())


def test_nothing_stays_nothing() -> None:
    assert len(fill_tracks(Tracks.of([]), seconds_per_frame=0.1)) == 0
