"""Trained federations on disk: they answer as before, or say why they cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.federation.random_recordings import random_recording

from midhaul.errors import DataError
from midhaul.federation.bundle import Bundle
from midhaul.federation.fusion import fit_fuser
from midhaul.federation.fusion.calibration import fit_calibration
from midhaul.federation.policies.base import Examples, replay
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.policies.confidence import fit_confidence
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.recordings.problem import Recording, Task


def bundle_of(recording: Recording, *, is_calibrated: bool) -> Bundle:
    """A bundle with everything learned on a recording."""
    rng = np.random.default_rng(1)
    calibration = fit_calibration(recording) if is_calibrated else None
    shown = recording if calibration is None else calibration.apply(recording)
    fuser = fit_fuser("stacked", shown, rng=rng)
    features = np.zeros((len(recording), 0), np.float32)
    examples = Examples(recording=shown, features=features, fuser=fuser)
    return Bundle(
        task=recording.task,
        names=recording.names,
        providers=recording.providers,
        prices_usd=recording.prices_usd,
        features=(),
        calibration=calibration,
        fuser=fuser,
        policy=fit_confidence(examples).at(0.0),
    )


@pytest.mark.parametrize("task", ["boxes", "tags", "labels"])
@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_bundle_answers_as_before(
    task: Task, *, is_calibrated: bool, tmp_path: Path
) -> None:
    """Read again, it asks the same providers and fuses to the same answers."""
    recording = random_recording(task, np.random.default_rng(7), missing=0.1)
    bundle = bundle_of(recording, is_calibrated=is_calibrated)
    bundle.save(tmp_path / "b.npz")
    again = Bundle.load(tmp_path / "b.npz")
    again.check_fits(recording)
    assert (again.task, again.names) == (task, recording.names)
    assert (again.providers, again.features) == (recording.providers, ())
    assert np.array_equal(again.prices_usd, bundle.prices_usd)
    features = np.zeros((len(recording), 0), np.float32)
    done = []
    for one in (bundle, again):
        shown = one.calibration.apply(recording) if one.calibration else recording
        rng = np.random.default_rng(2)
        done.append(replay(one.policy, shown, features, one.fuser, rng))
    first, second = done
    assert np.array_equal(first.rounds, second.rounds)
    for name in ("starts", "labels", "scores", "boxes", "is_missing"):
        mine, other = getattr(first.fused, name), getattr(second.fused, name)
        assert np.array_equal(mine, other), name


def test_other_data_are_told_apart() -> None:
    """Other providers, other labels, or the same in another order do not fit."""
    recording = random_recording("labels", np.random.default_rng(7))
    bundle = replace(
        bundle_of(recording, is_calibrated=False), policy=FixedPolicy(mask=1)
    )
    bundle.check_fits(recording)
    turned = recording.only(recording.providers[::-1])
    with pytest.raises(DataError, match="providers provider-0, provider-1"):
        bundle.check_fits(turned)
    with pytest.raises(DataError, match="labels name-0"):
        bundle.check_fits(replace(recording, names=(*recording.names[1:], "emu")))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """No file, another state, a later format, and one with something gone."""
    file = tmp_path / "b.npz"
    with pytest.raises(DataError, match="does not exist"):
        Bundle.load(file)
    recording = random_recording("labels", np.random.default_rng(7))
    bundle = bundle_of(recording, is_calibrated=False)
    write_state(file, bundle.fuser.state())
    with pytest.raises(DataError, match="format 1"):
        Bundle.load(file)
    bundle.save(file)
    state = read_state(file)
    write_state(file, state | {"format": 2})
    with pytest.raises(DataError, match="format 1"):
        Bundle.load(file)
    for key in state.keys() - {"format"}:
        write_state(file, {k: v for k, v in state.items() if k != key})
        with pytest.raises(DataError, match=key):
            Bundle.load(file)
    write_state(file, state | {"policy": {"policy": "os.system"}})
    with pytest.raises(DataError, match="kind of saved policy"):
        Bundle.load(file)
