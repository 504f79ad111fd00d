"""A served federation that goes on learning: feedback, alarms, and what survives."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.services.test_federation import fetch, get, service_of, until

from midhaul.federation.bundle import Bundle
from midhaul.federation.evaluate.online import degraded
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.recordings.parquet import write_parquet

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.services.test_federation import Service

    from midhaul.federation.recordings.problem import Recording

N = 360
N_THEN = 40
BROKEN = 160
RATE = 20.0
VOTE = fuser_named("vote")
WHOLE = check_examples(
    "labels", VOTE, np.random.default_rng(7), n_items=600 + N + N_THEN
)
LATER = WHOLE.recording.take(np.arange(600, 600 + N + N_THEN))
ONLINE = """
audit_share = 0.2
boosted_share = 0.5
n_between_alarms = 2000
n_fewest = 60
n_enough = 120
worth_of_all = 0.07
save_s = 0.0
"""


def trained_in(folder: Path) -> None:
    """A federation that learned whom to ask of a, b and c."""
    before = Examples(
        recording=WHOLE.recording.take(np.arange(600)),
        features=WHOLE.features[:600],
        fuser=VOTE,
    )
    family: Any = fit_policy("fixed", before, {}, np.random.default_rng(0))
    Bundle(
        task="labels",
        names=before.recording.names,
        providers=before.recording.providers,
        prices_usd=before.recording.prices_usd,
        features=(),
        calibration=None,
        fuser=VOTE,
        policy=family.at(RATE),
    ).save(folder / "federation.npz")


def file_of(online: str | None = ONLINE, *, ledger: str = "ledger.tsv") -> str:
    """A federation of recorded answers."""
    learns = "" if online is None else f"[policy.online]\n{online}\n"
    prices = dict(zip("abc", WHOLE.recording.prices_usd.tolist(), strict=True))
    return (
        'port = 0\nis_image = false\n[policy]\ntrained = "federation.npz"\n'
        f'{learns}[ledger]\nfile = "{ledger}"\n'
    ) + "".join(
        f'[[providers]]\nname = "{name}"\nprice_usd = {usd}\n'
        f'spec = "recorded:answers.parquet?provider={name}&task=labels"\n'
        for name, usd in prices.items()
    )


def right(recording: Recording, i: int) -> list[dict[str, str]]:
    """What people say is right about an item."""
    truth = recording.truth
    assert truth is not None
    return [{"label": recording.names[label]} for label in truth.labels[truth.of(i)]]


def tell(service: Service, said: object) -> tuple[int, dict[str, Any]]:
    """Give feedback."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return get(f"{service.url}/feedback", body)


def ask(service: Service, recording: Recording, i: int) -> dict[str, Any]:
    """The answer to an item."""
    code, said = service.detect(b"", f"?item={recording.items[i]}")
    assert code == 200, said
    return said


def online(service: Service) -> dict[str, Any]:
    """What it says it learned."""
    return get(f"{service.url}/info")[1]["online"]


def metrics(service: Service) -> dict[str, float]:
    """As Prometheus reads them."""
    lines = fetch(f"{service.url}/metrics")[2].decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name.removeprefix("midhaul_federation_"): float(v) for name, v in pairs}


def settled(service: Service, n: int) -> dict[str, Any]:
    """What it says once n requests are learned from and saved."""

    def is_settled() -> bool:
        said = online(service)["lessons"]
        return said.get("learned", 0) == n and said.get("saved", 0) == n

    until(is_settled, 60.0)
    return online(service)


def taught(service: Service, recording: Recording, items: range) -> list[Any]:
    """Answers to items, each of which people have said is right or wrong."""
    answers: list[dict[str, Any]] = []
    for i in items:
        said = ask(service, recording, i)
        told = {"answer_id": said["answer_id"], "truth": right(recording, i)}
        assert tell(service, told)[0] == 202
        answers.append(said)
    return answers


def check_audits(
    service: Service, answers: list[dict[str, Any]], n_audits: int
) -> None:
    """Everybody was asked, it was paid from the budget, and it is counted."""
    audits = [said for said in answers if said["is_audit"]]
    assert all(said["asked"] == ["a", "b", "c"] for said in audits)
    found = metrics(service)
    assert found["audits_total"] == len(audits) == n_audits
    audits_usd = sum(said["cost_usd"] for said in audits)
    assert audits_usd >= n_audits * LATER.prices_usd.sum() - 1e-9  # and retries
    assert found["audits_usd_total"] == pytest.approx(audits_usd)
    spent_usd = sum(said["cost_usd"] for said in answers)
    budget = get(f"{service.url}/info")[1]["budget"]
    assert budget["spent_usd"] == pytest.approx(spent_usd)


def asking_a(answers: list[dict[str, Any]]) -> list[bool]:
    """Whether a was asked about what was no audit."""
    return ["a" in said["asked"] for said in answers if not said["is_audit"]]


def test_it_learns_that_a_provider_broke_and_remembers(tmp_path: Path) -> None:
    """Alarm in the metrics, another policy, audits paid; also after SIGKILL."""
    trained_in(tmp_path)
    rng = np.random.default_rng(2)
    worse = degraded(LATER, "a", BROKEN, rng, share=1.0, how="swapped")
    write_parquet(worse, tmp_path)
    with service_of(tmp_path, file_of()) as service:
        assert "(online fixed)" in service.line
        before = taught(service, worse, range(BROKEN))
        calm = settled(service, BROKEN)
        assert (calm["n_alarms"], calm["asks_among"]) == (0, ["a", "b", "c"])
        assert all(asking_a(before))
        after = taught(service, worse, range(BROKEN, N))
        learned = settled(service, N)
        alarm, found = learned["alarms"][0], metrics(service)
        assert (alarm["provider"], alarm["direction"]) == ("a", "fell")
        assert BROKEN < alarm["number"] <= N
        assert found['drift_alarms_total{provider="a"}'] >= 1
        assert found["refits_total"] == learned["n_refits"]
        assert found['lessons_total{result="learned"}'] == N
        assert found['feedback_total{result="taken"}'] == N
        check_audits(service, [*before, *after], learned["n_audits"])
        then = [ask(service, worse, i) for i in range(N, N + N_THEN)]
        assert not any(asking_a(then))
        service.end(signal.SIGKILL)
    with service_of(tmp_path, file_of()) as service:
        again = online(service)
        kept = ("n_seen", "n_audits", "n_refits", "alarms", "asks_among", "suspects")
        assert {key: again[key] for key in kept} == {key: learned[key] for key in kept}
        assert metrics(service)['drift_alarms_total{provider="a"}'] >= 1
        told = {"answer_id": after[0]["answer_id"], "truth": right(worse, 0)}
        assert tell(service, told)[0] == 404
        assert not any(asking_a([ask(service, LATER, i) for i in range(20)]))
        assert service.end(signal.SIGTERM) == (0, "")
    with service_of(tmp_path, file_of()) as service:
        assert online(service)["n_seen"] == N + 20  # without feedback, at the end


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A service that learns, for tests that do not break it."""
    folder = tmp_path_factory.mktemp("learning")
    trained_in(folder)
    write_parquet(LATER, folder)
    text = file_of(f"{ONLINE}\nmax_feedback_bytes = 2000")
    with service_of(folder, text) as service:
        yield service


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 400, "should be JSON"),
        (b"\xff\xfe{", 400, "should be JSON"),
        (b"[" * 900, 400, "should be JSON"),
        (b"[]", 400, "an object with answer_id and truth"),
        (b'{"answer_id": "x"}', 400, "an object with answer_id and truth"),
        (b'{"answer_id": "x", "truth": [], "y": 1}', 400, "and no more"),
        (b'{"answer_id": 7, "truth": [{"label": "cat"}]}', 400, "should be a text"),
        (b'{"answer_id": "x", "truth": "cat"}', 400, "a list of entries"),
        (b'{"answer_id": "x", "truth": []}', 400, "one label, found 0"),
        (b'{"answer_id": "x", "truth": ["cat"]}', 400, "should be an object"),
        (b'{"answer_id": "x", "truth": [{"label": "yak"}]}', 400, "no label 'yak'"),
        (b'{"answer_id": "x", "truth": [{"label": 1}]}', 400, "no label 1"),
        (
            b'{"answer_id": "x", "truth": [{"label": "cat", "box": [0, 0, 1, 1]}]}',
            400,
            "have no box",
        ),
        (
            b'{"answer_id": "x", "truth": [{"label": "cat", "score": 1}]}',
            400,
            "no key 'score'",
        ),
        (b'{"answer_id": "x", "truth": [{"label": "cat"}]}', 404, "no answer of"),
        (b" " * 5000, 413, "at most 2000 bytes"),
    ],
)
def test_wrong_feedback_is_refused_in_words(
    steady: Service, body: bytes, code: int, said: str
) -> None:
    """With a status of 4xx, and nothing is learned from it."""
    taken = 'feedback_total{result="taken"}'
    before = metrics(steady).get(taken, 0.0)
    answer = tell(steady, body)
    assert answer[0] == code
    assert said in answer[1]["error"]
    assert metrics(steady).get(taken, 0.0) == before


def test_feedback_counts_once(steady: Service) -> None:
    """The second time nobody waits for it; an answer from the cache is the same one."""
    first, again = ask(steady, LATER, 0), ask(steady, LATER, 0)
    assert (again["is_cached"], again["answer_id"]) == (True, first["answer_id"])
    told = {"answer_id": again["answer_id"], "truth": right(LATER, 0)}
    assert tell(steady, told)[0] == 202
    assert tell(steady, told)[0] == 404


def test_who_does_not_learn_takes_no_feedback(tmp_path: Path) -> None:
    """The trained policy alone: no feedback, and no ids in answers."""
    trained_in(tmp_path)
    write_parquet(LATER, tmp_path)
    with service_of(tmp_path, file_of(None)) as service:
        said = ask(service, LATER, 0)
        assert not {"answer_id", "is_audit"} & set(said)
        code, error = tell(service, {"answer_id": "x", "truth": right(LATER, 0)})
        assert (code, online(service)) == (404, None)
        assert "takes no feedback" in error["error"]


def started(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What a service that cannot start says."""
    file = folder / "other.toml"
    file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "midhaul", "serve", "federation", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_was_learned_belongs_to_one_process_and_one_training(
    tmp_path: Path,
) -> None:
    """In use, damaged, or of another training: it is refused in words."""
    trained_in(tmp_path)
    write_parquet(LATER, tmp_path)
    text = file_of(f'{ONLINE}file = "learned.npz"')
    with service_of(tmp_path, text) as service:
        ask(service, LATER, 0)
        done = started(tmp_path, text.replace("ledger.tsv", "other.tsv"))
        assert done.returncode == 1
        assert "learned.npz is in use by another process" in done.stderr
        assert service.end(signal.SIGTERM) == (0, "")
    whole = (tmp_path / "learned.npz").read_bytes()
    (tmp_path / "learned.npz").write_bytes(whole[: len(whole) // 2])
    done = started(tmp_path, text)
    assert done.returncode == 2
    assert "move learned.npz away" in done.stderr
    (tmp_path / "learned.npz").write_bytes(whole)
    bundle = Bundle.load(tmp_path / "federation.npz")
    other = tmp_path / "other"
    other.mkdir()
    bundle.save(other / "federation.npz")
    with (other / "federation.npz").open("ab") as stream:
        stream.write(b"\0")
    shutil.copy(other / "federation.npz", tmp_path / "federation.npz")
    done = started(tmp_path, text)
    assert done.returncode == 2
    assert "another training" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("online_keys", "said"),
    [
        ("audit_share = 0.0", "audit_share"),
        ("window = 10", "window 10 is less than n_fewest 100"),
        ('file = "learned.bin"', "ends in .npz"),
        ('refit = "sac"', "is not learned while it serves"),
        ("audit_shares = 0.1", "did you mean 'audit_share'?"),
    ],
)
def test_wrong_keys_are_told(tmp_path: Path, online_keys: str, said: str) -> None:
    """All of them in words."""
    trained_in(tmp_path)
    write_parquet(LATER, tmp_path)
    done = started(tmp_path, file_of(online_keys))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
