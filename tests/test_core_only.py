"""The command line where nothing but the core is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from midhaul.kinds import KINDS

ROOT = Path(__file__).parent.parent

Ended = dict[tuple[str, str], subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an environment with the core only.

    midhaul is installed as anybody would. What its metadata says that the core needs is
    linked from the environment of the tests, which saves to fetch and unpack it again.
    """
    folder = tmp_path_factory.mktemp("core") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    done = subprocess.run(
        [*command, "--quiet", "--no-deps", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python3*/site-packages")
    (midhaul,) = metadata.distributions(name="midhaul", path=[str(site)])
    for one in _needed(midhaul):
        for name in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(str(one.locate_file(name)))
    return folder / "bin" / "midhaul"


def _needed(root: metadata.Distribution) -> list[metadata.Distribution]:
    """What a distribution needs without its extras, and what that needs in turn."""
    found: dict[str, metadata.Distribution] = {}
    todo = [root]
    while todo:
        for text in todo.pop().requires or ():
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(wanted.name)
            if name not in found:
                found[name] = metadata.distribution(name)
                todo.append(found[name])
            assert wanted.specifier.contains(found[name].version, prereleases=True)
    return list(found.values())


_CALLS = """
import json, os, sys
from typer.testing import CliRunner
from midhaul.cli.app import app
for cwd, arguments in json.load(sys.stdin):
    os.chdir(cwd)
    done = CliRunner().invoke(app, arguments, prog_name="midhaul")
    known = done.exception is None or isinstance(done.exception, SystemExit)
    error = done.stderr if known else repr(done.exception)
    print(json.dumps([done.exit_code, done.stdout, error]))
"""


@pytest.fixture(scope="module")
def of_kinds(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """How ``new`` and ``run`` end for each kind, each in its folder of one process."""
    calls: list[tuple[str, list[str]]] = []
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("kind")
        (folder / "new.toml").write_text(f'kind = "{kind}"\n')
        calls.append((str(folder), ["new", kind]))
        calls.append((str(folder), ["run", "new.toml"]))
    done = subprocess.run(
        [core.with_name("python"), "-c", _CALLS],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert done.returncode == 0, done.stderr
    keys = [(verb, kind) for kind in KINDS for verb in ("new", "run")]
    found: Ended = {}
    for key, (cwd, _), line in zip(keys, calls, done.stdout.splitlines(), strict=True):
        code, out, error = json.loads(line)
        found[key] = subprocess.CompletedProcess(cwd, code, out, error)
    return found


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def call(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call it away from the checkout."""
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=_environment(),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["new"],
        ["new", next(iter(KINDS))],
        ["ls"],
        ["doctor"],
        ["doctor", "--json"],
    ],
)
def test_what_needs_the_core_only_works(
    core: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Help, new, ls and doctor end well."""
    done = call(core, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_doctor_names_the_missing_extras(core: Path, tmp_path: Path) -> None:
    """Each comes with the command that installs it."""
    out = call(core, "doctor", cwd=tmp_path).stdout
    assert "pip install 'midhaul[testbed]'" in out


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_kind_can_be_begun(of_kinds: Ended, kind: str) -> None:
    """It is printed, and needs no extra."""
    done = of_kinds["new", kind]
    assert done.returncode == 0, done.stderr
    assert f'kind = "{kind}"' in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_run_says_in_one_line_what_to_install(of_kinds: Ended, kind: str) -> None:
    """Exit code 3, no run, no traceback."""
    done = of_kinds["run", kind]
    assert done.returncode == 3, done.stderr
    message, hint = done.stderr.splitlines()
    assert message.startswith(f"midhaul: {kind} needs ")
    assert hint == f"hint: pip install 'midhaul[{KINDS[kind].extra}]'"
    assert not (Path(done.args) / "runs").exists()


def test_run_of_a_process_says_it_as_well(core: Path, tmp_path: Path) -> None:
    """Nothing but the two lines is written."""
    kind = next(iter(KINDS))
    (tmp_path / "new.toml").write_text(f'kind = "{kind}"\n')
    done = call(core, "run", "new.toml", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_show_without_a_run_has_nothing_to_show(core: Path, tmp_path: Path) -> None:
    """It says so, as everywhere."""
    assert call(core, "show", "last", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    "arguments", [["demo"], ["models", "ls"], ["serve", "node", "x"]]
)
def test_other_verbs_say_what_to_install(
    core: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Whatever needs an extra names it."""
    done = call(core, *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "hint: pip install 'midhaul[" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_reads_a_run_of_another_machine(core: Path, tmp_path: Path) -> None:
    """A run that was made with all extras can be looked at with none."""
    code = (
        "from pathlib import Path\n"
        "from midhaul.runs.run import Run\n"
        "from tests.support.toy_kind import NAME, STEPS, ToyConfig\n"
        "run = Run.create(Path('runs'), NAME, ToyConfig())\n"
        "run.write(STEPS, [{'step': 1}])\n"
        "run.finish()\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    for arguments in (["show"], ["show", "--table", "steps"], ["show", "--config"]):
        done = call(core, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout
