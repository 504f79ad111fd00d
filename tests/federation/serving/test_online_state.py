"""The policy of a served federation that learns: it conforms and is kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError
from midhaul.federation.bundle import Bundle
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import policy_from_state
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.checks import check_examples, check_online
from midhaul.federation.policies.online.online import OnlineRefit
from midhaul.federation.policies.online.settings import OnlineSettings
from midhaul.federation.policies.online.streaming import stream
from midhaul.federation.serving.config import (
    FederationFile,
    OnlineConfig,
    PolicyConfig,
    ProviderConfig,
    ServedOnlineConfig,
    read_federation,
)
from midhaul.federation.serving.from_config import knowledge_of, open_online
from midhaul.federation.serving.online_feedback import OnlineState, online_of
from midhaul.npz_state import write_state
from midhaul.runs.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.policies.base import Examples
    from midhaul.federation.recordings.problem import Task

QUICK = ServedOnlineConfig(audit_share=0.5, n_fewest=20, n_routine=20, n_enough=40)


def bundle_in(folder: Path, task: Task = "labels") -> tuple[Bundle, Examples]:
    """What federation.train would save, and what it was learned on."""
    fuser = fuser_named("wbf" if task == "boxes" else "vote")
    examples = check_examples(task, fuser, np.random.default_rng(3), n_items=120)
    family: Any = fit_policy("frugal", examples, {}, np.random.default_rng(0))
    bundle = Bundle(
        task=task,
        names=examples.recording.names,
        providers=examples.recording.providers,
        prices_usd=examples.recording.prices_usd,
        features=(),
        calibration=None,
        fuser=fuser,
        policy=family.at(60.0),
    )
    bundle.save(folder / "federation.npz")
    return bundle, examples


def file_in(folder: Path, online: ServedOnlineConfig) -> FederationFile:
    """A federation's file with that bundle."""
    providers = tuple(
        ProviderConfig(spec=Spec("local:null"), name=name, price_usd=0.0)
        for name in "abc"
    )
    policy = PolicyConfig(trained=folder / "federation.npz", online=online)
    return FederationFile(policy=policy, providers=providers)


def test_settings_are_said_once() -> None:
    """The file's defaults are those of the policy."""
    assert OnlineConfig().settings == OnlineSettings()


@pytest.mark.parametrize("task", ["labels", "tags", "boxes"])
def test_what_is_served_conforms(tmp_path: Path, task: Task) -> None:
    """The trained policy and what keeps it up to date, before and after refits."""
    _, examples = bundle_in(tmp_path, task)
    policy: Any = knowledge_of(file_in(tmp_path, QUICK)).policy
    assert isinstance(policy, OnlineRefit)
    check_online(policy, examples, from_state=policy_from_state)
    assert policy.n_refits > 0


def streamed(policy: OnlineRefit, examples: Examples) -> None:
    """All items, and what is right about them."""
    rng = np.random.default_rng(5)
    stream(policy, examples.recording, examples.features, examples.fuser, rng)


def test_it_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    """What was learned is there again; what the file says since counts from now on."""
    bundle, examples = bundle_in(tmp_path)
    file = tmp_path / "online.npz"
    with OnlineState(file, tmp_path / "federation.npz") as state:
        first = state.policy(QUICK, bundle, 0)
        assert not file.exists()
        streamed(first, examples)
        state.save(first)
    other = QUICK.model_copy(update={"n_between_alarms": 77.0, "audit_share": 0.25})
    with OnlineState(file, tmp_path / "federation.npz") as state:
        again = state.policy(QUICK, bundle, 0)
        changed = state.policy(other, bundle, 0)
    assert (again.n_seen, again.n_refits) == (first.n_seen, first.n_refits)
    assert again.n_refits > 0
    state_of = {"old": again.state(), "new": changed.state()}
    watch = {name: one["watch"]["quality"] for name, one in state_of.items()}
    assert watch["old"]["n_between"] == 2 * QUICK.n_between_alarms
    assert watch["new"]["n_between"] == 2 * 77.0
    assert state_of["new"]["renewal"]["settings"]["audit_share"] == 0.25
    np.testing.assert_array_equal(watch["old"]["counts"], watch["new"]["counts"])


@pytest.mark.parametrize("broken", ["format", "trained", "policy"])
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, broken: str) -> None:
    """With what mends it, and the file is left as it is."""
    bundle, _ = bundle_in(tmp_path)
    file = tmp_path / "online.npz"
    with OnlineState(file, tmp_path / "federation.npz") as state:
        state.save(state.policy(QUICK, bundle, 0))
        trained = (tmp_path / "federation.npz").read_bytes()
        digest = hashlib.sha256(trained).hexdigest()
        values = {"format": 1, "trained": digest, "policy": {}}
        wrong = {"format": 2, "trained": "x", "policy": {"renewal": 3}}
        write_state(file, {**values, broken: wrong[broken]})
        before = file.read_bytes()
        with pytest.raises(DataError, match=r"online\.npz") as error:
            state.policy(QUICK, bundle, 0)
    assert "move online.npz away" in error.value.hint
    assert file.read_bytes() == before


def test_what_is_not_learned_in_seconds_is_refused(tmp_path: Path) -> None:
    """Also a trained policy that is none of the catalogue."""
    bundle, _ = bundle_in(tmp_path)
    for refit in ("sac", "oracle", "nothing"):
        online = QUICK.model_copy(update={"refit": refit})
        with pytest.raises(ConfigError, match="is not learned while it serves"):
            online_of(online, bundle, 0)
    single = QUICK.model_copy(update={"refit": "single"})
    assert online_of(single, bundle, 0).name == "online frugal"


def test_calls_of_no_price_weigh_nothing(tmp_path: Path) -> None:
    """Where everybody is free, only quality counts."""
    bundle, examples = bundle_in(tmp_path)
    free = replace(bundle, prices_usd=np.zeros(3))
    recording = replace(examples.recording, prices_usd=np.zeros(3))
    policy = online_of(QUICK, free, 0)
    streamed(policy, replace(examples, recording=recording))
    assert policy.n_refits > 0


def test_the_file_stands_beside_the_ledger(tmp_path: Path) -> None:
    """With its name, unless another is said; where nobody learns there is none."""
    bundle_in(tmp_path)
    text = (
        'policy = {{ trained = "federation.npz", {} }}\n'
        '[ledger]\nfile = "money/spent.tsv"\n'
        '[[providers]]\nname = "a"\nspec = "local:null"\nprice_usd = 0.0\n'
    )
    (tmp_path / "money").mkdir()
    file = tmp_path / "federation.toml"
    file.write_text(text.format("online = {}"), encoding="utf-8")
    with open_online(read_federation(file)) as state:
        assert state is not None
        assert state.file == tmp_path / "money" / "spent.online.npz"
    file.write_text(text.format('online = { file = "x.npz" }'), encoding="utf-8")
    with open_online(read_federation(file)) as state:
        assert state is not None
        assert state.file == tmp_path / "x.npz"
    file.write_text(text.format('name = "all"'), encoding="utf-8")
    with open_online(read_federation(file)) as state:
        assert state is None
    with pytest.raises(ConfigError, match="online needs trained"):
        PolicyConfig(online=QUICK)
