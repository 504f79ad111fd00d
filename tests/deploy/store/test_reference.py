"""References are read by the rules of the Docker command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.store.manifests import Reference, parse_reference
from midhaul.errors import DataError

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("debian", "docker.io", "library/debian", "latest", None),
        ("debian:12", "docker.io", "library/debian", "12", None),
        ("me/app", "docker.io", "me/app", "latest", None),
        ("docker.io/debian", "docker.io", "library/debian", "latest", None),
        ("ghcr.io/me/app:v1", "ghcr.io", "me/app", "v1", None),
        ("localhost/app", "localhost", "app", "latest", None),
        ("host:5000/a/b/c:1.2-x", "host:5000", "a/b/c", "1.2-x", None),
        ("[::1]:5000/a", "[::1]:5000", "a", "latest", None),
        (f"h.io/a@{DIGEST}", "h.io", "a", None, DIGEST),
        (f"h.io:1/a:t@{DIGEST}", "h.io:1", "a", "t", DIGEST),
    ],
)
def test_a_reference_has_its_parts(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    """Registry, repository, tag and digest are found, with Docker's defaults."""
    found = parse_reference(text)
    assert found == Reference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )
    assert found.wanted == (digest or tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Debian",
        "a b",
        "host:5000/",
        "debian:",
        "debian@",
        "debian@sha256:12",
        "debian@md5:" + "0" * 32,
        "a//b",
        "../etc/passwd",
        "h.io/../x",
        "debian:" + "t" * 200,
        "h.io/a\nb",
        "x" * 10_000,
        "user@host.io/a",
        "host:99999999/a",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """The message says what was expected."""
    with pytest.raises(DataError, match="expected"):
        parse_reference(text)


@given(
    registry=st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "[::1]:80"]),
    repository=st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){1,3}", fullmatch=True),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    digest=st.none() | st.just(DIGEST),
)
def test_the_text_of_a_reference_leads_back_to_it(
    registry: str, repository: str, tag: str, digest: str | None
) -> None:
    """Parsing what a reference says of itself gives the same reference."""
    reference = Reference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost:5000/a", True),
        ("127.0.0.1:5000/a", True),
        ("[::1]:5000/a", True),
        ("10.0.0.1:5000/a", False),
        ("localhost.example.com/a", False),
        ("127.0.0.1.example.com/a", False),
        ("debian", False),
    ],
)
def test_only_registries_on_this_machine_are_asked_by_plain_http(
    text: str, *, is_loopback: bool
) -> None:
    """A name that only looks like loopback is none."""
    assert parse_reference(text).is_loopback is is_loopback


def test_docker_hub_answers_under_another_name() -> None:
    """The registry is docker.io to people, and registry-1.docker.io to programs."""
    assert parse_reference("debian").host == "registry-1.docker.io"
    assert parse_reference("ghcr.io/a").host == "ghcr.io"


@given(text=st.text(max_size=60) | st.from_regex(r"[a-z./:@0-9-]{0,40}"))
def test_any_text_is_a_reference_or_an_error_for_the_user(text: str) -> None:
    """No text causes a traceback, and what is accepted is safe in a URL."""
    try:
        found = parse_reference(text)
    except DataError:
        return
    assert ".." not in found.repository.split("/")
    assert not set(found.repository) & set("?#%\\ ")
