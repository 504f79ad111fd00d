"""A served federation as a process: it answers, refuses, drains and survives."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from midhaul.federation.money.ledger_file import entries_of, read_ledger

if TYPE_CHECKING:
    from collections.abc import Generator
    from email.message import Message

ROOT = Path(__file__).parent.parent.parent
BILLED = ["ok", "timeout", "unavailable", "malformed"]
_SERVE = [sys.executable, "-m", "midhaul", "serve", "federation"]


@pytest.fixture(scope="module")
def image() -> bytes:
    """A whole JPEG of 64x64 px."""
    return cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()


class Providers:
    """Counting providers on loopback, in a process of their own."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports

    def counts(self) -> dict[str, Any]:
        """What they counted."""
        return get(f"http://127.0.0.1:{self.ports[0]}/counts")[1]


@contextmanager
def providers_of(folder: Path, *settings: dict[str, Any]) -> Generator[Providers]:
    """Providers with these settings; prices of 0.001 USD and no latency unless said."""
    filled = [{"price_usd": 0.001, "latency_s": 0.0, **one} for one in settings]
    file = folder / "providers.json"
    said = {"budget_usd": 1000.0, "billed": BILLED, "providers": filled}
    file.write_text(json.dumps(said), encoding="utf-8")
    script = ROOT / "benchmarks" / "counting_providers.py"
    process = subprocess.Popen(
        [sys.executable, script, file], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Providers(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


class Service:
    """A federation's process."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        (folder / "words.toml").write_text('names = ["person", "car"]\n')
        (folder / "federation.toml").write_text(text)
        self.process = subprocess.Popen(
            [*_SERVE, folder / "federation.toml"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.partition("/detect")[0].rpartition(" ")[2]

    def detect(self, body: bytes, query: str = "") -> tuple[int, dict[str, Any]]:
        """Ask it; the HTTP status and what it said."""
        return get(f"{self.url}/detect{query}", body)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Its exit code and what it wrote on stderr."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


def fetch(url: str, body: bytes | None = None) -> tuple[int, Message, bytes]:
    """GET, or POST where there is a body: status, headers and body of the answer."""
    _, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", f"/{path}", body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def get(url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """The same for JSON: status and what was said."""
    code, _, said = fetch(url, body)
    return code, json.loads(said)


def file_of(
    ports: list[int],
    *,
    policy: str = "cheapest-first",
    top: str = "",
    budget: str = "",
    each: str = "",
) -> str:
    """A federation's file; providers are called a, b, c."""
    return (
        f'port = 0\n{top}\n[policy]\nname = "{policy}"\nvocabulary = "words.toml"\n'
        f'[budget]\n{budget}\n[ledger]\nfile = "ledger.tsv"\n'
        + "".join(
            f'[[providers]]\nname = "{name}"\nspec = "http://127.0.0.1:{port}"\n'
            f"price_usd = 0.001\n{each}\n"
            for name, port in zip("abc", ports, strict=False)
        )
    )


@contextmanager
def service_of(folder: Path, text: str) -> Generator[Service]:
    """A service that does not outlive the test."""
    service = Service(folder, text)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.communicate()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A service with two healthy providers, for tests that do not break it."""
    folder = tmp_path_factory.mktemp("steady")
    with providers_of(folder, {}, {}) as providers:
        text = file_of(providers.ports, policy="all", top="max_body_bytes = 100_000")
        with service_of(folder, text) as service:
            yield service


def test_it_says_where_it_listens(steady: Service) -> None:
    """One line: address, providers and policy."""
    assert steady.line.startswith("federation: http://127.0.0.1:")
    assert steady.line.endswith("/detect asks a, b (all)\n")


def test_it_says_where_it_listens_on_ipv6(tmp_path: Path) -> None:
    """A URL that can be asked; its port has brackets before it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with service_of(tmp_path, file_of([9], top='host = "::1"')) as service:
        assert service.line.startswith("federation: http://[::1]:")
        assert get(f"{service.url}/health")[0] in {200, 503}


def test_an_answer_tells_everything(steady: Service, image: bytes) -> None:
    """Fused boxes, who was asked, how each call went, and what it cost."""
    code, said = steady.detect(image + b"1", "?item=street%201")
    assert code == 200
    assert said["item"] == "street 1"
    assert said["status"] == "complete"
    assert said["asked"] == ["a", "b"]
    assert said["rounds"] == [["a", "b"]]
    assert said["cost_usd"] == pytest.approx(0.002)
    assert [call["status"] for call in said["calls"]] == ["ok", "ok"]
    assert {entry["label"] for entry in said["answer"]} == {"person", "car"}
    for entry in said["answer"]:
        x1, y1, x2, y2 = entry["box"]
        assert 0 <= x1 < x2 <= 64
        assert 0 <= y1 < y2 <= 64


def test_the_same_image_is_answered_from_the_cache(
    steady: Service, image: bytes
) -> None:
    """Whatever its name; it costs nothing then."""
    first = steady.detect(image + b"2", "?item=one")[1]
    again = steady.detect(image + b"2", "?item=two")[1]
    assert (first["is_cached"], again["is_cached"]) == (False, True)
    assert again["cost_usd"] == 0
    assert again["item"] == "two"
    assert again["answer"] == first["answer"]


@pytest.mark.parametrize(
    "query", ["?budget_usd=1e308", "?deadline_s=1e308", "?budget_usd=1e20&item=%C3%BC"]
)
def test_huge_numbers_are_numbers(steady: Service, image: bytes, query: str) -> None:
    """A budget or a deadline that no request reaches is none."""
    assert steady.detect(image + query.encode(), query)[0] == 200


@pytest.mark.parametrize(
    ("body", "query", "code", "said"),
    [
        (b"no image", "", 400, "should be an image"),
        (b"", "", 400, "is empty"),
        (b"x" * 200_000, "", 413, "at most 100000 bytes"),
        (b"x", "?deadline_s=soon", 400, "deadline_s should be a positive number"),
        (b"x", "?deadline_s=-1", 400, "deadline_s should be a positive number"),
        (b"x", "?deadline_s=nan", 400, "deadline_s should be a positive number"),
        (b"x", "?budget_usd=inf", 400, "budget_usd should be a positive number"),
        (b"x", "?budget=1", 400, "unknown option 'budget'"),
        (b"x", "?item", 400, "the query cannot be read"),
        (b"x", "?item=%0A", 400, "that can be printed"),
        (b"x", f"?item={'x' * 300}", 400, "at most 256 characters"),
        (b"x", "?item=%ff", 400, "the query cannot be read"),
    ],
)
def test_bad_requests_are_refused_in_words(
    steady: Service, body: bytes, query: str, code: int, said: str
) -> None:
    """With a status of 4xx; nobody is asked and nothing is paid."""
    spent = get(f"{steady.url}/info")[1]["budget"]["spent_usd"]
    answer = steady.detect(body, query)
    assert answer[0] == code
    assert said in answer[1]["error"]
    assert get(f"{steady.url}/info")[1]["budget"]["spent_usd"] == spent


def test_an_image_that_is_cut_off_is_refused(steady: Service) -> None:
    """Before anybody is paid for it."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    whole = cv2.imencode(".jpg", pixels)[1].tobytes()
    code, said = steady.detect(whole[: len(whole) // 2])
    assert code == 400
    assert "cut off" in said["error"]


def test_requests_that_are_no_http_do_not_hurt(steady: Service, image: bytes) -> None:
    """Nonsense, a body that stops early, and a path that is not there."""
    host, port = steady.url.removeprefix("http://").split(":")
    for sent in (
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"POST /detect HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    code, said = get(f"{steady.url}/nothing")
    assert code == 404
    assert "POST /detect" in said["error"]
    assert steady.detect(image + b"3")[0] == 200


def test_a_client_that_leaves_is_settled(steady: Service, image: bytes) -> None:
    """No call stays open in the ledger."""
    host, port = steady.url.removeprefix("http://").split(":")
    body = image + b"leaves"
    head = f"POST /detect HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
    until(lambda: not get(f"{steady.url}/info")[1]["n_requests"])
    until(lambda: not read_ledger(steady.folder / "ledger.tsv").spending.open_calls)


def test_info_and_health_describe_it(steady: Service) -> None:
    """Providers with prices and breakers, budgets, label set."""
    assert get(f"{steady.url}/health") == (200, {"name": "federation", "ready": True})
    said = get(f"{steady.url}/info")[1]
    assert [one["name"] for one in said["providers"]] == ["a", "b"]
    assert said["providers"][0]["price_usd"] == 0.001
    assert said["providers"][0]["breaker"] == "closed"
    assert said["names"] == ["person", "car"]
    assert said["policy"] == "all"


def test_metrics_count_calls_and_money(steady: Service, image: bytes) -> None:
    """As Prometheus reads them."""
    steady.detect(image + b"4")
    steady.detect(image + b"4")
    _, headers, said = fetch(f"{steady.url}/metrics")
    assert headers["content-type"].startswith("text/plain")
    text = said.decode()
    found = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
    )
    prefix = "midhaul_federation"
    calls = {
        status: float(
            found.get(f'{prefix}_calls_total{{provider="a",status="{status}"}}', 0)
        )
        for status in ("ok", "cancelled")
    }
    assert calls["ok"] >= 1
    spent = float(found[f'{prefix}_spent_usd_total{{provider="a"}}'])
    assert spent == pytest.approx(0.001 * sum(calls.values()))
    assert float(found[f'{prefix}_breaker_state{{provider="a"}}']) == 0
    key = f'{prefix}_answers_total{{source="cache",status="complete"}}'
    assert float(found[key]) >= 1
    assert f'{prefix}_call_seconds_bucket{{le="0.01",provider="b"}}' in found


def test_a_provider_that_is_down_is_failed_over(tmp_path: Path, image: bytes) -> None:
    """Another one answers, and after some calls nobody asks the first one any more."""
    with providers_of(tmp_path, {"unavailable": 1.0}, {}) as providers:
        each = "retry = { attempts = 1 }\nbreaker = { n_calls = 3, open_s = 600.0 }"
        text = file_of(providers.ports, each=each)
        with service_of(tmp_path, text) as service:
            found = [service.detect(image + bytes([i]))[1] for i in range(5)]
        counts = providers.counts()
    assert all(said["status"] == "partial" for said in found)
    assert [said["calls"][0]["status"] for said in found] == [
        *["unavailable"] * 3, "not_sent", "not_sent",
    ]  # fmt: skip
    assert found[-1]["calls"][0]["not_sent"] == "breaker"
    assert found[-1]["open_breakers"] == ["a"]
    assert counts["calls"] == {"0 unavailable": 3, "1 ok": 5}


def test_html_instead_of_an_answer_is_told(tmp_path: Path, image: bytes) -> None:
    """All providers broken: 502, with each call's failure."""
    with (
        providers_of(tmp_path, {"malformed": 1.0}) as providers,
        service_of(tmp_path, file_of(providers.ports)) as service,
    ):
        code, said = service.detect(image)
    assert code == 502
    assert said["answer"] is None
    assert said["calls"][0]["status"] == "malformed"


def test_a_deadline_is_kept_over_http(tmp_path: Path, image: bytes) -> None:
    """A provider that never answers: 504 after the deadline that the request says."""
    with (
        providers_of(tmp_path, {"timeout": 1.0}) as providers,
        service_of(tmp_path, file_of(providers.ports)) as service,
    ):
        code, said = service.detect(image, "?deadline_s=0.3")
    assert code == 504
    assert said["status"] == "late"
    assert said["latency_s"] >= 0.25


def test_no_request_gets_what_the_budget_does_not_have(
    tmp_path: Path, image: bytes
) -> None:
    """At once: five are answered, the others hear 402; the providers saw five calls."""
    with providers_of(tmp_path, {"latency_s": 0.05}) as providers:
        text = file_of(providers.ports, budget="day_usd = 0.005")
        with service_of(tmp_path, text) as service:
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                bodies = [image + bytes([i]) for i in range(20)]
                found = list(pool.map(service.detect, bodies))
            code, headers, _ = fetch(f"{service.url}/detect", image + b"x")
            assert code == 402
            assert 0 < int(headers["retry-after"]) <= 86_400
        counts = providers.counts()
    assert sorted(code for code, _ in found) == [200] * 5 + [402] * 15
    assert counts["calls"] == {"0 ok": 5}


def test_after_sigkill_the_ledger_has_every_call(tmp_path: Path, image: bytes) -> None:
    """What was under way counts as spent, and the next process goes on from there."""
    with providers_of(tmp_path, {"timeout": 1.0}) as providers:
        text = file_of(providers.ports, budget="run_usd = 0.004")
        with (
            service_of(tmp_path, text) as service,
            concurrent.futures.ThreadPoolExecutor(3) as pool,
        ):
            lost = [pool.submit(service.detect, image + bytes([i])) for i in range(3)]
            until(lambda: providers.counts()["calls"].get("0 timeout") == 3)
            service.end(signal.SIGKILL)
            for one in lost:
                assert isinstance(one.exception(), (OSError, http.client.HTTPException))
        with service_of(tmp_path, text) as service:
            info = get(f"{service.url}/info")[1]
            assert info["budget"]["spent_usd"] == pytest.approx(0.003)
            codes = [
                service.detect(image + bytes([9, i]), "?deadline_s=0.2")[0]
                for i in range(2)
            ]
            code, err = service.end(signal.SIGTERM)
            assert code == 0
            assert "3 calls without an end count as spent" in err
        assert providers.counts()["calls"] == {"0 timeout": 4}
    assert codes == [504, 402]
    events = [entry.event for entry in entries_of(tmp_path / "ledger.tsv")]
    assert events.count("assumed") == 3
    assert events.count("reserved") == 4


def test_sigterm_answers_what_is_under_way(tmp_path: Path, image: bytes) -> None:
    """Then it ends with 0, and the ledger has no open call."""
    with providers_of(tmp_path, {"latency_s": 0.5}) as providers:
        with (
            service_of(tmp_path, file_of(providers.ports)) as service,
            concurrent.futures.ThreadPoolExecutor(4) as pool,
        ):
            under_way = [
                pool.submit(service.detect, image + bytes([i])) for i in range(4)
            ]
            until(lambda: providers.counts()["calls"].get("0 ok") == 4)
            assert service.end(signal.SIGTERM) == (0, "")
            assert [one.result()[0] for one in under_way] == [200] * 4
        contents = read_ledger(tmp_path / "ledger.tsv")
    contents.demand_whole()
    assert not contents.spending.open_calls
    assert contents.spending.of_run("service").n_calls == 4


def test_sigterm_does_not_wait_longer_than_the_file_says(
    tmp_path: Path, image: bytes
) -> None:
    """What is still under way then is cancelled and settled."""
    with providers_of(tmp_path, {"timeout": 1.0}) as providers:
        text = file_of(
            providers.ports, top="drain_s = 1.0", each="timeout_s = 300.0"
        ).replace("port = 0", "port = 0\ndeadline_s = 300.0")
        with (
            service_of(tmp_path, text) as service,
            concurrent.futures.ThreadPoolExecutor(1) as pool,
        ):
            pool.submit(service.detect, image)
            until(lambda: providers.counts()["calls"].get("0 timeout") == 1)
            code, _ = service.end(signal.SIGTERM)
        spending = read_ledger(tmp_path / "ledger.tsv").spending
    assert code == 0
    assert not spending.open_calls
    assert spending.of_run("service").n_calls == 1


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "providers: this key is required"),
        ("prot = 1\nproviders = []", 2, "did you mean 'port'?"),
        (
            '[[providers]]\nname = "a"\nspec = "http://127.0.0.1:1"',
            2,
            "give either price_usd or price_list",
        ),
        (
            '[[providers]]\nname = "a"\nspec = "carrier-pigeon:x"\nprice_usd = 1.0',
            2,
            "unknown kind of provider",
        ),
        (
            '[policy]\ntrained = "no.npz"\n[[providers]]\nname = "a"\n'
            'spec = "http://127.0.0.1:1"\nprice_usd = 1.0',
            2,
            "no.npz does not exist",
        ),
    ],
)
def test_a_wrong_file_ends_it_in_words(
    tmp_path: Path, text: str, code: int, said: str
) -> None:
    """All mistakes of it, and no traceback."""
    file = tmp_path / "federation.toml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run([*_SERVE, file], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ledger_is_written_by_one_process(tmp_path: Path) -> None:
    """The second one is told to take another."""
    with providers_of(tmp_path, {}) as providers:
        text = file_of(providers.ports)
        with service_of(tmp_path, text):
            done = subprocess.run(
                [*_SERVE, tmp_path / "federation.toml"],
                capture_output=True,
                text=True,
                check=False,
            )
    assert done.returncode == 1
    assert "another process writes the ledger" in done.stderr


def until(holds: Any, patience_s: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
