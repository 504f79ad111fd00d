"""The documentation is complete, and does what it says; ``make docs`` builds it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.support.docs_blocks import (
    AS_WRITTEN,
    Block,
    blocks,
    commands,
    missing_lines,
    run_command,
    smaller,
)
from tests.support.docs_data import give
from tools import check_site, reference

from midhaul.kinds import KINDS, load_experiment
from midhaul.runs.experiment_file import read_file
from midhaul.runs.listing import list_runs
from midhaul.runs.schema import keys
from midhaul.runs.sweep import points_of
from midhaul.vision.detectors.card import parse_card

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUNNABLE = {"console", "toml", "python"}
_LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _is_runnable(page: Path) -> bool:
    return any(block.language in RUNNABLE for block in blocks(page))


# Blocks


@pytest.mark.parametrize("page", [p for p in PAGES if _is_runnable(p)], ids=_id)
@pytest.mark.timeout(1200)  # the first one compiles kernels of networks
def test_blocks_of_a_page_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """Commands end as shown and print what is shown; files and code are valid."""
    for name in ("examples", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    try:
        for block in blocks(page):
            _try(block, tmp_path)
    finally:
        if (tmp_path / ".midhaul-testbed").exists():
            run_command("midhaul testbed down", tmp_path)
    _check_metrics_of_runs(tmp_path)


def _try(block: Block, folder: Path) -> None:
    if gift := block.directives.get("given"):
        give(gift, folder)
    if elsewhere := block.directives.get("tested elsewhere"):
        assert (ROOT / elsewhere).is_file(), f"{block.place}: there is no {elsewhere}"
        return
    if block.title:
        (folder / block.title).write_text(block.text, encoding="utf-8")
    if block.language == "console":
        _try_commands(block, folder)
    elif block.language == "toml":
        _try_toml(block, folder)
    elif block.language == "python" and not block.title:
        (folder / "block.py").write_text(block.text, encoding="utf-8")
        code, printed = run_command("python block.py", folder)
        assert code == 0, f"{block.place}\n{printed}"


def _try_commands(block: Block, folder: Path) -> None:
    for command in commands(block.text):
        text = smaller(block, command.text)
        code, printed = run_command(text, folder, command.output)
        told = f"{block.place}: {text}\n{printed}"
        assert code == command.exit_code, f"exit {code} of {told}"
        missing = missing_lines(command.output, printed)
        assert not missing, f"{missing} not printed by {told}"


_REST_OF_A_CARD = {
    "name": "a", "file": "a.onnx", "input_width": 8, "input_height": 8,
    "colour": "rgb", "decoder": "fastestdet", "labels": ["a"], "licence": "none",
    "source": "none",
}  # fmt: skip
"""What a partial card may leave out."""


def _try_toml(block: Block, folder: Path) -> None:
    if "card" in block.directives:
        rest = _REST_OF_A_CARD if block.directives["card"] == "partial" else {}
        parse_card(rest | tomllib.loads(block.text), where=block.place)
        return
    part = block.directives.get("part of")
    head = f'kind = "{part}"\n' if part else ""
    file = folder / "block.toml"
    file.write_text(head + block.text, encoding="utf-8")
    experiment = read_file(file)
    kind, _ = load_experiment(experiment, [])
    if experiment.sweep:
        points_of(experiment, kind.load_config(), [], [])


def _check_metrics_of_runs(folder: Path) -> None:
    """Every metric that the runs of a page's commands have written is declared."""
    runs = [run for path in folder.glob("*/*/manifest.json")
            for run in list_runs(path.parent.parent)]  # fmt: skip
    for run in runs:
        declared = KINDS[run.manifest.kind].load_metrics()
        assert set(run.summary.metrics) <= declared.keys()


# Completeness


def test_every_metric_is_documented() -> None:
    """Each metric of each kind has a sentence, and a line on the page of metrics."""
    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    sections = text.split("\n## ")[1:]
    for kind in KINDS.values():
        (section,) = (s for s in sections if kind.name in s.partition("\n")[0])
        assert kind.headline, f"{kind.name} shows nothing first"
        for name, metric in kind.load_metrics().items():
            assert metric.doc
            assert f"| `{name}` |" in section


def test_reference_is_what_the_code_says() -> None:
    """The generated pages in the repository are not stale."""
    assert reference.stale() == [], "run: python tools/reference.py"


def test_every_verb_is_documented() -> None:
    """Each verb has a heading, and each of its options is on the page."""
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    for path, command in reference.verbs(reference.command_tree()):
        heading = f"## {' '.join(path)}\n"
        assert heading in text
        section = text.partition(heading)[2].partition("\n## ")[0]
        options = [o for p in command.params for o in p.opts if o.startswith("--")]
        assert [o for o in options if f"`{o}`" not in section and o != "--help"] == []
        assert command.help


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_key_and_column_is_documented(kind: str) -> None:
    """Each kind, each of its keys and each column of its tables has its meaning."""
    config = (DOCS / "reference" / "config.md").read_text(encoding="utf-8")
    tables = (DOCS / "reference" / "tables.md").read_text(encoding="utf-8")
    assert f"\n## {kind}\n" in config
    for key in keys(KINDS[kind].load_config()):
        assert key.description, f"{kind}: {key.name} has no description"
        assert f"| `{key.name}` |" in config
    for table in KINDS[kind].load_tables():
        title = reference.table_title(kind, table)
        section = tables.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        for column in table.columns:
            assert column.doc
            assert f"| `{column.name}` |" in section


def test_stale_reference_is_found(tmp_path: Path) -> None:
    """A page that differs from the code, or is not there, is named."""
    for name, text in reference.pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert reference.stale(tmp_path) == []
    (tmp_path / "cli.md").write_text("old", encoding="utf-8")
    (tmp_path / "api.md").unlink()
    assert reference.stale(tmp_path) == ["cli.md", "api.md"]


# Site


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ('<script src="https://there/a.js">', ["in/page.html"]),
        ('<img alt="a" src="//there/a.png">', ["in/page.html"]),
        ('<script src="../a.js">', []),
        ('<a href="https://there">', []),
    ],
)
def test_pages_that_load_from_elsewhere_are_found(
    tag: str, found: list[str], tmp_path: Path
) -> None:
    """``make docs`` checks what it has built; a link that one may follow is no load."""
    with pytest.raises(FileNotFoundError, match="no page"):
        check_site.pages_that_ask(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "page.html").write_text(tag, encoding="utf-8")
    assert check_site.pages_that_ask(tmp_path) == found


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_beside_the_site_lead_somewhere(name: str) -> None:
    """A relative link of a page that is not part of the site names a file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [t for t in _LINK.findall(text) if not t.startswith(("http", "mailto"))]
    assert [t for t in targets if not (ROOT / t).exists()] == []


# How blocks are read


def test_blocks_have_their_titles_and_directives(tmp_path: Path) -> None:
    """A directive belongs to the fence right below it and to no other."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- part of: testbed.measure -->\n<!-- given: coco -->\n\n"
        '```toml title="a.toml"\nseed = 1\n```\n\n'
        "<!-- card -->\ntext between\n\n- item\n\n    ```python\n    x = 1\n    ```\n",
        encoding="utf-8",
    )
    first, second = blocks(page)
    assert first.directives == {"part of": "testbed.measure", "given": "coco"}
    assert (first.title, first.text, first.line) == ("a.toml", "seed = 1\n", 4)
    assert (second.directives, second.text) == ({}, "x = 1\n")


def test_runs_are_smaller_unless_they_are_tried_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is added is added to what runs, and to nothing else."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- tested with: --set n=[1] -->\n```console\n$ midhaul run a.toml\n```\n",
        encoding="utf-8",
    )
    (block,) = blocks(page)
    monkeypatch.delenv(AS_WRITTEN, raising=False)
    assert smaller(block, "midhaul run a.toml") == "midhaul run a.toml --set 'n=[1]'"
    assert smaller(block, "midhaul ls") == "midhaul ls"
    monkeypatch.setenv(AS_WRITTEN, "1")
    assert smaller(block, "midhaul run a.toml") == "midhaul run a.toml"


def test_commands_have_their_code_and_output() -> None:
    """Output belongs to the command above it, and a backslash continues a command."""
    first, second = commands("$ a \\\n    b  # exit 2\nnot found\n\n$ c\n")
    assert (first.text, first.exit_code) == ("a \\\n    b", 2)
    assert first.output == ("not found",)
    assert (second.text, second.exit_code, second.output) == ("c", 0, ())


def test_output_matches_but_for_numbers_and_dots() -> None:
    """Numbers, white space and dots do not matter; words and their order do."""
    output = "run 20260102T030405Z-testbed.measure-0123456789ab\n a   12.5 ms\n valid\n"
    assert missing_lines(("a 3 ms", "...", "valid"), output) == []
    assert missing_lines(("run runs/...",), output) == ["run runs/..."]
    known = "run 20250102T030405Z-testbed.measure-ba9876543210"
    assert missing_lines((known,), output) == []
    assert missing_lines(("valid", "a 3 ms"), output) == ["a 3 ms"]
