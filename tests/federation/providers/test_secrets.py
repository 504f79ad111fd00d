"""No secret of an address gets anywhere, and a token comes from the environment."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.services.stations import jpeg
from tests.support.fake_vendors import Vendor, serve
from typer.testing import CliRunner

from midhaul.cli.app import app
from midhaul.errors import ConfigError, PrerequisiteError
from midhaul.federation.providers.catalogue import ProviderSpec, make_provider
from midhaul.federation.serving.config import read_federation

if TYPE_CHECKING:
    from pathlib import Path

WORD = "hunter2hunter2"
VARIABLE = "MY_NODE_TOKEN"
ADDRESSES = [
    f"http://user:{WORD}@127.0.0.1:9",
    f"HTTPS://{WORD}@example.net/v1",
    f"https:/user:{WORD}@example.net",
    f"https://example.net/?key={WORD}",
    f"https://example.net/infer?api_key={WORD}",
    f"https://example.net?sv=1&sig={WORD}",
    f"https://example.net#token={WORD}",
    f" http://user:{WORD}@127.0.0.1:9",
    f"user:{WORD}@example.net",
    f"recorded:a.parquet?provider=x&token={WORD}",
]


@pytest.mark.parametrize("key", ["spec", "endpoint"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_secret_is_refused_before_anything_is_written(
    tmp_path: Path, address: str, key: str
) -> None:
    """By recordings and services, in words that do not repeat it, with the way out."""
    lines = {"spec": '"aws:detect_labels"', "name": '"a"', "price_usd": "0.1"}
    lines[key] = json.dumps(address)
    provider = "".join(f"{name} = {value}\n" for name, value in lines.items())
    file = tmp_path / "record.toml"
    file.write_text(f'kind = "federation.record"\n[[providers]]\n{provider}')
    said = CliRunner().invoke(app, ["run", str(file), "--out", str(tmp_path / "runs")])
    assert said.exit_code == 2, said.output
    assert not (tmp_path / "runs").exists()
    served = tmp_path / "serve.toml"
    served.write_text(f"[[providers]]\n{provider}")
    with pytest.raises(ConfigError) as wrong:
        read_federation(served)
    with pytest.raises(ConfigError) as caught:
        make_provider(ProviderSpec(**{"spec": "aws:labels", key: address}))
    for text in (said.output, wrong.value.message, str(caught.value)):
        assert WORD not in text
    assert "token_env" in wrong.value.message
    assert "token_env" in caught.value.hint


@pytest.mark.parametrize(
    "address", ["local:onnx:models/a@2x.onnx", "recorded:a@b.parquet?provider=key"]
)
def test_names_of_files_are_no_secrets(address: str) -> None:
    """An at sign in a file, and a provider that is called key, are allowed."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the file is not there
        make_provider(ProviderSpec(spec=address))
    assert "written down" not in str(caught.value)


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent, and missing it is told by the name of its variable."""
    monkeypatch.setenv(VARIABLE, WORD)
    with serve(Vendor(answer={}, fault="401")) as node:
        spec = ProviderSpec(spec=node.url, token_env=VARIABLE)

        async def ask() -> str:
            async with make_provider(spec) as provider:
                found = await provider.predict(jpeg(), item="a", timeout_s=20)
                return found.status

        assert asyncio.run(ask()) == "denied"
        ((_, headers, _),) = node.seen
    assert headers["Authorization"] == f"Bearer {WORD}"
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(PrerequisiteError, match=VARIABLE):
        make_provider(spec)
