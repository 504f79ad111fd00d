"""Write the reference pages of the documentation from the code.

    python tools/reference.py            writes docs/reference/{cli,config,…}.md
    python tools/reference.py --check    writes nothing, exits 1 when a page is stale

Equal code gives equal pages, whatever the machine. The verbs come from the definition
of the command line, keys and defaults from the config classes, columns and metrics from
the declarations of each kind, and the Python API from the ``__all__`` of each package.
It is one long file so that it runs alone.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import midhaul
from midhaul.kinds import KINDS
from midhaul.runs.manifest import Manifest
from midhaul.runs.schema import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from midhaul.kinds import Kind
    from midhaul.runs.metric import Metric
    from midhaul.runs.schema import ConfigKey
    from midhaul.runs.tables import Table

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
_END = "<!-- Written by tools/reference.py: change the code, then run that. -->\n"
_HIDDEN_OPTIONS = {"--help", "--install-completion", "--show-completion"}
_WIDTH = 72
_ROLE = re.compile(r":\w+:`~?([^`]+)`")

_CLI_HEAD = """\
Results go to stdout, messages and progress to stderr. Exit codes: 0 done, 1 the
experiment failed, 2 bad input, 3 something must be installed first, 4 a gate or
`--strict` says no, 70 unforeseen (a file says what), 130 interrupted."""

_CONFIG_HEAD = """\
An experiment file is TOML with a `kind`. `midhaul new KIND` prints one with every key
and its default. Order: the defaults, the file, then each `--set KEY=VALUE`. A step of a
key is a name, the number of an entry in a list, or its `name`: `nodes.edge1.threads`. A
relative path is taken from the folder of the file; one given with `--set`, from the
current folder.

A table `[sweep]`, with a list of values for each key, makes the file one for `midhaul
sweep`; the kind itself does not see it."""

_METRICS_HEAD = """\
The names in the column `metric` of the table `summary`, for each configuration. A value
is exact unless the column `bound` says that the true one is at least (`>=`) or at most
(`<=`) that; where there is no value, `remark` says why. Most have a 95 % interval
(`low`, `high`), from a bootstrap over what the column *interval over* says. `midhaul
compare` pairs two runs by the same units. Where that is empty, the metric is a value
without an interval. A metric that stated coefficients make, and no measurement, is a
model."""

_API_HEAD = """\
What a package lists in its `__all__` is its API; everything else may change at any
time. Units are in the names, shapes in the annotations."""


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    texts = {
        "cli.md": cli_page(),
        "config.md": config_page(),
        "tables.md": tables_page(),
        "metrics.md": metrics_page(),
        "api.md": api_page(),
    }
    return {name: f"{text.rstrip()}\n\n{_END}" for name, text in texts.items()}


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of the pages in a folder that are missing or not what the code says."""
    found: list[str] = []
    for name, text in pages().items():
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            found.append(name)
    return found


# Command line


def cli_page() -> str:
    """All verbs, their arguments and options."""
    lines = [
        "# Command line",
        "",
        _CLI_HEAD,
        "",
    ]
    root = command_tree()
    lines += _options(root)
    for path, command in verbs(root):
        lines += _verb(path, command)
    return "\n".join(lines)


def command_tree() -> Any:
    """The command line as typer built it."""
    typer_main = importlib.import_module("typer.main")
    app = importlib.import_module("midhaul.cli.app").app
    return typer_main.get_command(app)


def verbs(command: Any, path: tuple[str, ...] = ("midhaul",)) -> Iterator[Any]:
    """Each verb with the words that lead to it, groups left out."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, inner in below.items():
        if not inner.hidden:
            yield from verbs(inner, (*path, name))


def _verb(path: Sequence[str], command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = " ".join(_argument(p) for p in arguments)
    words = " ".join(path)
    usage = f"{words} [OPTIONS] {shown}".rstrip()
    lines = [f"## {words}", "", f"```text\n{usage}\n```", "", _prose(command.help), ""]
    if described := {_argument(p): p for p in arguments if p.help}:
        rows = [(f"`{name}`", _line(p.help)) for name, p in described.items()]
        lines += _grid(("argument", "meaning"), rows)
    return lines + _options(command)


def _options(command: Any) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for option in command.params:
        is_option = option.param_type_name == "option"
        if not is_option or option.hidden or _HIDDEN_OPTIONS & set(option.opts):
            continue
        names = ", ".join(f"`{o}`" for o in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag else _value(option)
        rows.append((names, value, _default(option), _line(option.help)))
    return _grid(("option", "value", "default", "meaning"), rows)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = name.strip("[].")
    many = "..." if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}]{many}"


def _value(option: Any) -> str:
    return f"`{_cell(option.metavar or option.name.upper())}`"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    default = option.default
    if isinstance(default, bool):
        return "on" if default else ""
    return f"`{default}`" if isinstance(default, str | int | float | Path) else ""


# Config


def config_page() -> str:
    """Every key of every kind."""
    lines = [
        "# Experiment files",
        "",
        _CONFIG_HEAD,
        "",
        "| kind | what it is for |",
        "|---|---|",
    ]
    lines += [
        f"| [`{k.name}`](#{_anchor(k.name)}) | {k.summary} |" for k in KINDS.values()
    ]
    shared = _sections()
    for kind in KINDS.values():
        lines += ["", f"## {kind.name}", "", kind.summary, ""]
        model = kind.load_config()
        groups = _groups(list(keys(model)))
        lines += _key_grid(groups.pop(""))
        for title, group in groups.items():
            owners = shared[title, tuple(group)]
            lines += [f"### {kind.name}: {title}", ""]
            if owners[0] != kind.name:
                anchor = _anchor(f"{owners[0]}: {title}")
                lines += [f"The same keys as [{owners[0]}](#{anchor}).", ""]
            else:
                lines += _key_grid(group)
    return "\n".join(lines)


def _sections() -> dict[tuple[str, tuple[ConfigKey, ...]], list[str]]:
    """Which kinds share a table with the same keys."""
    found: dict[tuple[str, tuple[ConfigKey, ...]], list[str]] = {}
    for kind in KINDS.values():
        for title, group in _groups(list(keys(kind.load_config()))).items():
            found.setdefault((title, tuple(group)), []).append(kind.name)
    return found


def _groups(listed: Sequence[ConfigKey]) -> dict[str, list[ConfigKey]]:
    """Keys by the table that holds them; ``""`` for those at the top."""
    groups: dict[str, list[ConfigKey]] = {"": []}
    for key in listed:
        table, _, _ = key.name.rpartition(".")
        groups.setdefault(table, []).append(key)
    return groups


def _key_grid(listed: Sequence[ConfigKey]) -> list[str]:
    rows = [
        (f"`{k.name}`", _cell(k.type), _key_default(k), _cell(k.description))
        for k in listed
    ]
    return _grid(("key", "type", "default", "meaning"), rows)


def _key_default(key: ConfigKey) -> str:
    if key.is_required:
        return "required"
    return f"`{_cell(key.default)}`" if key.default else ""


# Tables


def tables_page() -> str:
    """The folder of a run, and every column of every table."""
    lines = [
        "# Tables",
        "",
        "A run is a folder `runs/TIME-KIND-HASH/`:",
        "",
        "| path | what it is |",
        "|---|---|",
        "| `manifest.json` | who ran what, where, and how it ended: "
        + ", ".join(f"`{name}`" for name in Manifest.model_fields)
        + " |",
        "| `config.toml` | the experiment with all defaults |",
        "| `log.jsonl` | one event on each line, with its time |",
        "| `tables/NAME/part-NNNN.parquet` | rows; each part is complete |",
        "| `files/` | what is no table |",
        "| `report/` | the report, once it is asked for |",
        "",
        "[Query tables](../how-to/query-tables.md) has ways to read them.",
        "",
    ]
    for title, table, owners in _tables():
        kinds = ", ".join(f"`{name}`" for name in owners)
        lines += [f"## {title}", "", table.doc, "", f"Declared by {kinds}.", ""]
        rows = [(f"`{c.name}`", str(c.type), _cell(c.doc)) for c in table.columns]
        lines += _grid(("column", "type", "meaning"), rows)
    return "\n".join(lines)


def _tables() -> list[tuple[str, Table, list[str]]]:
    """Each table once: its title, itself, the kinds that write it."""
    found: dict[str, tuple[str, Table, list[str]]] = {}
    for kind in KINDS.values():
        for table in kind.load_tables():
            title = table_title(kind.name, table)
            found.setdefault(title, (title, table, []))[2].append(kind.name)
    return list(found.values())


def table_title(kind: str, table: Table) -> str:
    """Its name; and of which kind it is, where another kind's table is a namesake."""
    alike = [
        (other.name, first)
        for other in KINDS.values()
        for first in other.load_tables()
        if first.name == table.name
    ]
    if not alike or alike[0][1] == table:
        return table.name
    owner = next((name for name, first in alike if first == table), kind)
    return f"{table.name} of {owner}"


# Metrics


def metrics_page() -> str:
    """Every metric of every kind, the kinds of a module together."""
    lines = ["# Metrics", "", _METRICS_HEAD, ""]
    modules: dict[str, list[Kind]] = {}
    for kind in KINDS.values():
        modules.setdefault(
            f"{kind.folder or f'midhaul.{kind.name}'}.metrics", []
        ).append(kind)
    for module, kinds in modules.items():
        doc = inspect.getdoc(importlib.import_module(module)) or ""
        about = doc.partition("\n\n")[2]
        lines += [f"## {', '.join(kind.name for kind in kinds)}", "", about, ""]
        lines += _metric_grid(kinds)
    return "\n".join(lines)


def _metric_grid(kinds: Sequence[Kind]) -> list[str]:
    """The metrics of some kinds, each once; of which kind, where not of all."""
    found: dict[str, tuple[Metric, list[str]]] = {}
    for kind in kinds:
        for name, metric in kind.load_metrics().items():
            found.setdefault(name, (metric, []))[1].append(kind.name)
    head = ("metric", "unit", "better", "meaning", "interval over", "model", "only of")
    rows = [
        (
            f"`{name}`",
            metric.unit,
            metric.better,
            _cell(metric.doc),
            metric.over,
            "yes" if metric.is_model else "",
            "" if len(owners) == len(kinds) else ", ".join(owners),
        )
        for name, (metric, owners) in found.items()
    ]
    return _grid(head, rows)


# Python


def api_page() -> str:
    """The names that packages offer, each with the first paragraph on it."""
    lines = [
        "# Python API",
        "",
        _API_HEAD,
        "",
    ]
    told: dict[int, str] = {}
    for module in facades():
        lines += [f"## {module.__name__}", "", _prose(inspect.getdoc(module)), ""]
        for name in sorted(module.__all__):
            value = public_value(module, name)
            place = f"{module.__name__}.{name}"
            if (home := told.setdefault(id(value), place)) != place:
                lines += [f"### {name}", "", f"The same as `{home}`.", ""]
            else:
                lines += _api_entry(name, value)
    return "\n".join(lines)


def public_value(module: ModuleType, name: str) -> Any:
    """What a facade means by a name, where a package below it has the same one."""
    value = getattr(module, name)
    return module.__getattr__(name) if inspect.ismodule(value) else value


def facades() -> list[ModuleType]:
    """The packages that offer names in their ``__all__``, by name."""
    found: list[ModuleType] = [midhaul]
    for info in pkgutil.walk_packages(midhaul.__path__, "midhaul."):
        if not info.ispkg:
            continue
        module = importlib.import_module(info.name)
        if getattr(module, "__all__", None):
            found.append(module)
    return sorted(found, key=lambda module: module.__name__)


def _api_entry(name: str, value: Any) -> list[str]:
    kind = "class" if inspect.isclass(value) else "function"
    if not callable(value) or not hasattr(value, "__name__"):
        return [f"### {name}", "", _prose(_doc_of_value(value)), ""]
    shown = f"{kind} {name}{signature_text(value)}"
    lines = [f"### {name}", "", f"```text\n{shown}\n```", ""]
    return [*lines, _prose(inspect.getdoc(value)), ""]


def _doc_of_value(value: Any) -> str:
    return f"A type: `{value}`." if "[" in str(value) else f"The value `{value!r}`."


def signature_text(value: Any, *, width: int | None = _WIDTH) -> str:
    """How something is called; in a line, or one for each argument beyond a width."""
    if getattr(value, "_is_protocol", False):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parts: list[str] = []
    for parameter in signature.parameters.values():
        starts_keywords = parameter.kind is parameter.KEYWORD_ONLY
        if starts_keywords and "*" not in parts:
            parts.append("*")
        parts.append(_parameter(parameter))
    returns = signature.return_annotation
    has_result = isinstance(returns, str) and not inspect.isclass(value)
    arrow = f" -> {returns}" if has_result else ""
    one = f"({', '.join(parts)}){arrow}"
    if width is None or len(one) <= width:
        return one
    body = "".join(f"    {part},\n" for part in parts)
    return f"(\n{body}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        text = f"*{text}"
    if parameter.kind is parameter.VAR_KEYWORD:
        text = f"**{text}"
    if isinstance(parameter.annotation, str):
        text += f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    default = parameter.default
    plain = isinstance(default, str | int | float | tuple | None)
    return f"{text} = {default!r}" if plain else f"{text} = ..."


# Markdown


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; a column without any entry is left out."""
    if not rows:
        return []
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line[i] for i in used)} |" for line in lines] + [""]


def _prose(text: str | None) -> str:
    """The first paragraph of a docstring as markdown."""
    paragraph = inspect.cleandoc(text or "").partition("\n\n")[0]
    paragraph = _ROLE.sub(lambda m: f"`{m[1].rpartition('.')[2]}`", paragraph)
    paragraph = paragraph.replace("``", "`").removesuffix("::")
    return " ".join(paragraph.split())


def _line(text: str | None) -> str:
    return _cell(_prose(text))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(title: str) -> str:
    """What the site's table of contents makes of a heading."""
    kept = re.sub(r"[^\w\s-]", "", title).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        names = stale()
        for name in names:
            sys.stderr.write(f"docs/reference/{name} is stale\n")
        if names:
            sys.stderr.write("python tools/reference.py\n")
        return 1 if names else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
