"""``midhaul check`` and ``doctor``: whether files will do, and what is installed."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midhaul.cli.options import RUNS, Json, Out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from midhaul.runs.config import Config
    from midhaul.vision.checking import Checked

_FAULTY = 2


class DataKind(StrEnum):
    """Formats of data sets."""

    coco = "coco"
    yolo = "yolo"
    voc = "voc"
    labelme = "labelme"
    createml = "createml"
    cvat = "cvat"
    table = "table"


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET…",
            help="Experiment files, data sets (a folder, a COCO JSON file, a "
            "data.yaml), models, recorded detections, or detectors such as "
            "builtin:street-s.",
            show_default=False,
        ),
    ],
    *,
    kind: Annotated[
        DataKind | None,
        typer.Option("--kind", help="Format of the data sets; found out without."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of the images of a file of labels."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List every mistake with its place and what mends it; exit 2 if there is one."""
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress

    found: list[Checked] = []
    with shown_progress() as progress:
        for target in targets:
            with progress.task(f"checking {target}") as bar:
                found += _check(target, kind, images, bar.advance)
    if json:
        output.print_json([_plain(checked) for checked in found])
    else:
        for checked in found:
            _print(checked)
    if any(checked.faults for checked in found):
        raise typer.Exit(_FAULTY)


def _check(
    target: str, kind: DataKind | None, images: Path | None, advance: Callable[[], None]
) -> list[Checked]:
    from midhaul.errors import ConfigError, DataError
    from midhaul.vision.checking import Checked, check_model, check_path, is_spec
    from midhaul.vision.data.dataset import DataFault

    path = Path(target)
    try:
        if path.suffix.lower() == ".toml":
            return _check_file(path, advance)
        if not path.exists() and is_spec(target):
            return [check_model(target)]
        of_kind = None if kind is None else kind.value
        return [check_path(path, kind=of_kind, images=images, advance=advance)]
    except (ConfigError, DataError) as error:
        fault = DataFault(message=error.message, hint=error.hint)
        return [Checked(what=target, faults=(fault,))]


def _check_file(path: Path, advance: Callable[[], None]) -> list[Checked]:
    """An experiment file with the data and the detectors that it names; or a card."""
    from midhaul.errors import DataError
    from midhaul.kinds import load_experiment
    from midhaul.runs.experiment_file import read_file
    from midhaul.vision.checking import Checked
    from midhaul.vision.detectors.card import read_card

    source = read_file(path)
    if "kind" not in source.values and "decoder" in source.values:
        return [Checked(what=f"model card {path}: {read_card(path).name}")]
    if not path.is_file():
        message = f"there is no file {path}"
        raise DataError(message)
    kind, config = load_experiment(source, [])
    return [Checked(what=f"experiment {path} ({kind.name})"), *_inputs(config, advance)]


def _inputs(config: Config, advance: Callable[[], None]) -> list[Checked]:
    """The data set and the detectors of an experiment of the testbed."""
    from midhaul.testbed.measure.config import AccuracyConfig, TestbedConfig
    from midhaul.testbed.measure.from_config import dataset_of
    from midhaul.vision.checking import check_dataset, check_model

    if isinstance(config, AccuracyConfig):
        specs = [str(spec) for spec in config.detectors]
    elif isinstance(config, TestbedConfig):
        specs = [str(node.detector) for node in config.nodes if node.detector]
    else:
        return []
    found = [check_model(spec) for spec in dict.fromkeys(specs)]
    data, seed = config.data, config.seed
    if data.kind != "builtin":
        found.append(
            check_dataset(
                f"data ({data.kind})",
                lambda faults: dataset_of(data, seed, faults),
                advance,
            )
        )
    return found


def _plain(checked: Checked) -> dict[str, object]:
    return {
        "what": checked.what,
        "faults": [
            {"message": fault.message, "hint": fault.hint} for fault in checked.faults
        ],
        "notes": list(checked.notes),
    }


def _print(checked: Checked) -> None:
    from midhaul.cli import output

    n = len(checked.faults)
    verdict = "clean" if not n else "1 mistake:" if n == 1 else f"{n} mistakes:"
    output.print_line(f"{checked.what}: {verdict}")
    for fault in checked.faults:
        output.print_line(f"  {fault.message}")
        if fault.hint:
            output.print_line(f"    {fault.hint}")
    for note in checked.notes:
        output.print_line(f"note    {note}")


_GIB = 1024**3
_LOW_DISK_BYTES = 2 * _GIB
_LOW_FILES = 1024
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,-]+)\])?.*")
_EXTRA = re.compile(r"extra == ['\"](?P<extra>[\w-]+)['\"]")

_TOOLS = {
    "git": ("records the commit of a checkout", "apt-get install git"),
    "g++": ("the judge ns3 of networks, which it builds", "apt-get install g++"),
    "wrk": ("the benchmark of the load generator", "apt-get install wrk"),
    "chromium": ("the browser tests of reports", "apt-get install chromium"),
    "ip": ("deploy.live's namespaces and links", "apt-get install iproute2"),
    "tc": ("deploy.live's shaped links", "apt-get install iproute2"),
    "docker-registry": ("deploy.live's pulls", "apt-get install docker-registry"),
    "mosquitto": ("deploy.live's messages", "apt-get install mosquitto"),
    "tcpdump": ("captures of federation.record", "apt-get install tcpdump"),
    "skopeo": ("a check of the registry in the tests", "apt-get install skopeo"),
}
"""Programs that some part can use: for what, and where they come from."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        what: its name.
        status: missing is a lack of something that some part needs; note is a hint.
        found: what was found.
        fix: the command or advice that mends it; empty when nothing needs to.
    """

    what: str
    status: Literal["ok", "missing", "note"]
    found: str
    fix: str = ""


def doctor(
    *,
    out: Out = RUNS,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not import what is installed.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what is installed and reachable, and what mends what is not.

    Every library is imported once, as one that is there may still be broken.
    """
    from midhaul.cli import output

    checks = [*_system(out), *_extras(is_tried=not quick), *_tools(), _ns3()]
    checks.append(_namespaces())
    if json:
        output.print_json([asdict(check) for check in checks])
        return
    rows = [[c.what, c.status, c.found, c.fix or None] for c in checks]
    output.print_table(["what", "status", "found", "fix"], rows, fold={"found", "fix"})


def _system(out: Path) -> Iterator[Check]:
    import midhaul
    from midhaul.runs.manifest import memory_bytes, n_cores

    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("midhaul", "ok", midhaul.__version__)
    yield Check("python", "ok", f"{version}, {sys.executable}")
    yield Check("cores", "ok", str(n_cores()))
    memory = memory_bytes()
    yield Check("memory", "ok", "unknown" if memory is None else _gib(memory))
    yield _disk(out)
    yield _open_files()
    yield _clock()
    yield _pressure()
    yield _cgroup()


def _disk(out: Path) -> Check:
    folder = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
    if not os.access(folder, os.W_OK):
        return Check("disk", "missing", f"{folder} cannot be written", "--out DIR")
    free = shutil.disk_usage(folder).free
    found = f"{_gib(free)} free in {folder}"
    if free < _LOW_DISK_BYTES:
        return Check("disk", "note", found, "make room, or use --out DIR")
    return Check("disk", "ok", found)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} of at most {hard}"
    if soft < _LOW_FILES:
        return Check("open files", "note", found, f"ulimit -n {_LOW_FILES}")
    return Check("open files", "ok", found)


def _clock() -> Check:
    folder = Path("/sys/devices/system/clocksource/clocksource0")
    source = _text(folder / "current_clocksource")
    if source is None:
        return Check("clock source", "note", "unknown")
    slow = source in {"hpet", "acpi_pm", "jiffies"}
    fix = "short durations are coarse; see clocksource= of the kernel" if slow else ""
    return Check("clock source", "note" if slow else "ok", source, fix)


def _pressure() -> Check:
    if Path("/proc/pressure/cpu").exists():
        return Check("pressure (PSI)", "ok", "available")
    fix = "a kernel with CONFIG_PSI, booted with psi=1, shows who waits for the CPU"
    return Check("pressure (PSI)", "note", "not available", fix)


def _cgroup() -> Check:
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        fix = "CPU limits of nodes are kept by midhaul itself"
        return Check("cgroup v2", "note", "not mounted", fix)
    if os.access(root / "cgroup.procs", os.W_OK):
        return Check("cgroup v2", "ok", "writable")
    fix = "CPU limits of nodes are kept by midhaul itself"
    return Check("cgroup v2", "note", "read only", fix)


def _extras(*, is_tried: bool) -> Iterator[Check]:
    needs = extras()
    every = {name for names in needs.values() for name in names}
    broken = unimportable(modules_of(every)) if is_tried else {}
    for extra, names in needs.items():
        missing = [name for name in names if not _is_installed(name)]
        what = f"extra {extra}"
        if missing:
            found = f"not installed: {', '.join(missing)}"
            yield Check(what, "missing", found, f"pip install 'midhaul[{extra}]'")
        elif bad := [name for name in names if name in broken]:
            found = "; ".join(
                f"{name} cannot be imported: {broken[name]}" for name in bad
            )
            fix = f"pip install --force-reinstall {' '.join(bad)}"
            yield Check(what, "missing", found, fix)
        else:
            done = "imported" if is_tried else "installed"
            yield Check(what, "ok", f"{len(names)} libraries {done}")


_TRY = """
import importlib, json, sys
for name, modules in json.loads(sys.argv[1]).items():
    try:
        for module in modules:
            importlib.import_module(module)
        print(json.dumps([name, ""]), flush=True)
    except BaseException as error:
        print(json.dumps([name, f"{type(error).__name__}: {error}"[:200]]), flush=True)
"""
_LONGEST_TRY_S = 300


def modules_of(names: Iterable[str]) -> dict[str, list[str]]:
    """The modules that installed libraries bring: those of their names, or all."""
    brought: dict[str, list[str]] = {}
    for module, owners in metadata.packages_distributions().items():
        for owner in owners:
            brought.setdefault(_plain_name(owner), []).append(module)
    found: dict[str, list[str]] = {}
    for name in names:
        public = [m for m in brought.get(_plain_name(name), []) if m.isidentifier()]
        public = [module for module in public if not module.startswith("_")]
        own = [m for m in public if _plain_name(m) == _plain_name(name)]
        if public:
            found[name] = own or public
    return found


def _plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unimportable(modules: Mapping[str, list[str]]) -> dict[str, str]:
    """Why libraries cannot be imported, each tried in a process of its own kind.

    One that takes the process down is the first that it did not answer for.
    """
    waiting, found = dict(modules), dict[str, str]()
    while waiting:
        done = subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-W", "ignore", "-c", _TRY, dumps(waiting)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_TRY_S,
        )
        told = [line for line in done.stdout.splitlines() if line.startswith('["')]
        for line in told:
            name, error = loads(line)
            waiting.pop(name, None)
            if error:
                found[name] = error
        if waiting:
            name = next(iter(waiting))
            found[name] = f"the process ended with {done.returncode}"
            del waiting[name]
    return found


def extras() -> dict[str, list[str]]:
    """The libraries of each extra, extras inside of extras resolved."""
    direct: dict[str, list[str]] = {}
    inner: dict[str, list[str]] = {}
    for line in metadata.requires("midhaul") or ():
        found, extra = _REQUIREMENT.fullmatch(line), _EXTRA.search(line)
        if found is None or extra is None:
            continue
        into = direct.setdefault(extra["extra"], [])
        if found["name"] == "midhaul":
            inner.setdefault(extra["extra"], []).extend(found["extras"].split(","))
        else:
            into.append(found["name"])
    return {extra: _resolved(extra, direct, inner) for extra in direct}


def _resolved(
    extra: str, direct: dict[str, list[str]], inner: dict[str, list[str]]
) -> list[str]:
    names = list(direct.get(extra, []))
    for other in inner.get(extra, []):
        names += _resolved(other, direct, inner)
    return list(dict.fromkeys(names))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _tools() -> Iterator[Check]:
    for name, (purpose, fix) in _TOOLS.items():
        path = shutil.which(name)
        if path is None:
            yield Check(name, "note", f"not found; only for {purpose}", fix)
        else:
            yield Check(name, "ok", path)


def _ns3() -> Check:
    """The simulator that packets are judged by; Debian's, or the wheel."""
    headers = sorted(Path("/usr/include").glob("ns3*/ns3/core-module.h"))
    if headers:
        return Check("ns-3", "ok", str(headers[-1].parents[1]))
    found = "not found; only for the judge ns3 of networks"
    return Check("ns-3", "note", found, "apt-get install libns3-dev")


def _namespaces() -> Check:
    """Whether this user may make network namespaces."""
    unshare = shutil.which("unshare")
    if unshare is not None:
        done = subprocess.run([unshare, "-n", "true"], capture_output=True, check=False)  # noqa: S603  what was found
        if done.returncode == 0:
            return Check("network namespaces", "ok", "may be made")
    found = "may not be made; for deploy.live and the judge kernel of networks"
    return Check("network namespaces", "note", found, "run it as root")


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:.1f} GiB"


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
