"""Measure the house: files, lines, circles, folders, names, and readers' journeys.

``python tools/house.py`` measures this tree, ``--at COMMIT`` an earlier one beside it.
Nothing is imported: the sources are parsed, so it works on any commit.
"""

from __future__ import annotations

import argparse
import ast
import collections
import io
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
JOURNEYS = Path("docs/explanation/architecture.md")


@dataclass
class Module:
    """One file of ``src``: its lines by what they hold, and what it names."""

    name: str
    lines: dict[str, int]
    imports: set[str] = field(default_factory=set)
    classes: list[str] = field(default_factory=list)

    @property
    def n_lines(self) -> int:
        """All lines of the file."""
        return sum(self.lines.values())


def main() -> int:
    """Print one column of figures for each tree."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--at", metavar="COMMIT", action="append", default=[])
    parser.add_argument("--names", action="store_true", help="list what is counted")
    options = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    for commit in options.at:
        with tempfile.TemporaryDirectory() as folder:
            columns[commit] = figures(checked_out(commit, Path(folder)), options.names)
    columns["here"] = figures(ROOT, options.names)
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    width = max(map(len, rows))
    print(" " * width, *(f"{name[:9]:>9}" for name in columns))
    for row in rows:
        cells = (f"{column.get(row, '-'):>9}" for column in columns.values())
        print(f"{row:<{width}}", *cells)
    return 0


def checked_out(commit: str, folder: Path) -> Path:
    """Return ``folder``, holding the sources and pages of ``commit``."""
    archive = subprocess.run(
        ["git", "archive", commit, "src", "docs"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def figures(root: Path, is_listing: bool) -> dict[str, str]:  # noqa: FBT001
    """Return what is measured of the tree at ``root``, by name."""
    modules = {module.name: module for module in modules_of(root / "src")}
    sizes = sorted(module.n_lines for module in modules.values())
    kinds: collections.Counter[str] = collections.Counter()
    for module in modules.values():
        kinds.update(module.lines)
    n_lines = sum(sizes)
    single = one_importer(modules)
    twice = said_twice(modules)
    loops = circles(modules)
    folders = entries(root / "src")
    found = {
        "files": f"{len(modules):,}",
        "lines": f"{n_lines:,}",
        **{f"  {kind}": f"{kinds[kind]:,}" for kind in _KINDS},
        "median file": f"{statistics.median(sizes):.0f}",
        "90th percentile": f"{sizes[int(0.9 * len(sizes))]}",
        "largest file": f"{sizes[-1]}",
        "files over 600 lines": f"{sum(size > 600 for size in sizes)}",  # noqa: PLR2004
        "files with one importer": f"{len(single)}",
        "  that stands beside it": f"{sum(map(_are_beside, single.items()))}",
        "class names used twice": f"{len(twice)}",
        "import circles": f"{len(loops)}",
        "most entries in a folder": f"{max(folders.values())}",
        "folders with over 20": f"{sum(n > 20 for n in folders.values())}",  # noqa: PLR2004
    }
    for journey, files in journeys(root).items():
        found[f"files to open: {journey}"] = str(len(files))
    if is_listing:
        listing = (
            *(f"one importer: {one} <- {by}" for one, by in sorted(single.items())),
            *(f"twice: {one} in {', '.join(at)}" for one, at in sorted(twice.items())),
            *(f"circle: {', '.join(sorted(loop))}" for loop in loops),
            *(f"{n} entries: {at}" for at, n in folders.items() if n > 20),  # noqa: PLR2004
            *(
                f"{module.n_lines} lines: {module.name}"
                for module in modules.values()
                if module.n_lines > 600  # noqa: PLR2004
            ),
        )
        print("\n".join(listing), file=sys.stderr)
    return found


_KINDS = ("code", "docstring", "import", "comment", "blank")


def modules_of(src: Path) -> list[Module]:
    """Parse every module below ``src``."""
    found: list[Module] = []
    files = sorted(src.rglob("*.py"))
    names = {file: _name(file, src) for file in files}
    known = set(names.values())
    for file, name in names.items():
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        found.append(
            Module(
                name=name,
                lines=_lines_by_kind(text, tree),
                imports=_imports(tree, known) - {name},
                classes=[
                    node.name for node in tree.body if isinstance(node, ast.ClassDef)
                ],
            )
        )
    return found


def _name(file: Path, src: Path) -> str:
    parts = file.relative_to(src).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _lines_by_kind(text: str, tree: ast.Module) -> dict[str, int]:
    """Sort each line into code, docstring, import, comment or blank."""
    kind = ["code"] * (text.count("\n") + 1)
    for number, line in enumerate(text.split("\n")):
        if not line.strip():
            kind[number] = "blank"
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            kind[token.start[0] - 1] = "comment"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            kind[node.lineno - 1 : node.end_lineno] = ["import"] * (
                (node.end_lineno or node.lineno) - node.lineno + 1
            )
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                end = first.end_lineno or first.lineno
                kind[first.lineno - 1 : end] = ["docstring"] * (end - first.lineno + 1)
    if not kind[-1].strip() or text.endswith("\n"):
        kind.pop()
    counted = collections.Counter(kind)
    return {name: counted[name] for name in _KINDS}


def _imports(tree: ast.Module, known: set[str]) -> set[str]:
    """Return the modules of the house that a module imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known:
                    found.add(whole)
                elif node.module in known:
                    found.add(node.module)
    return found


def one_importer(modules: dict[str, Module]) -> dict[str, str]:
    """Return each module that exactly one other imports, with that one."""
    importers: dict[str, set[str]] = collections.defaultdict(set)
    for module in modules.values():
        for imported in module.imports:
            importers[imported].add(module.name)
    return {name: next(iter(by)) for name, by in importers.items() if len(by) == 1}


def _are_beside(pair: tuple[str, str]) -> bool:
    return pair[0].rpartition(".")[0] == pair[1].rpartition(".")[0]


def said_twice(modules: dict[str, Module]) -> dict[str, list[str]]:
    """Return class names without a leading underscore that several modules define."""
    where: dict[str, list[str]] = collections.defaultdict(list)
    for module in modules.values():
        for name in module.classes:
            if not name.startswith("_"):
                where[name].append(module.name)
    return {name: at for name, at in where.items() if len(at) > 1}


def circles(modules: dict[str, Module]) -> list[set[str]]:
    """Return the strongly connected parts of the import graph, functions included."""
    order: list[str] = []
    seen: set[str] = set()
    for name in modules:
        _depth_first(name, {n: m.imports for n, m in modules.items()}, seen, order)
    back: dict[str, set[str]] = collections.defaultdict(set)
    for module in modules.values():
        for imported in module.imports:
            back[imported].add(module.name)
    seen.clear()
    found: list[set[str]] = []
    for name in reversed(order):
        part: list[str] = []
        _depth_first(name, back, seen, part)
        if len(part) > 1:
            found.append(set(part))
    return found


def _depth_first(
    start: str, arrows: dict[str, set[str]], seen: set[str], order: list[str]
) -> None:
    """Append what ``start`` reaches to ``order``, each after what it reaches."""
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        name, is_done = stack.pop()
        if is_done:
            order.append(name)
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack.extend((to, False) for to in sorted(arrows.get(name, ())))


def entries(src: Path) -> dict[str, int]:
    """Return how many entries a reader sees in each folder of the package."""
    counted: collections.Counter[str] = collections.Counter()
    for file in src.rglob("*"):
        is_shown = file.suffix == ".py" or (file.is_dir() and any(file.rglob("*.py")))
        if is_shown and file.name != "__init__.py" and file.parent != src:
            counted[str(file.parent.relative_to(src))] += 1
    return dict(counted.most_common())


def journeys(root: Path) -> dict[str, list[str]]:
    """Return the files of each journey that the page of the architecture lists."""
    page = root / JOURNEYS
    if not page.is_file():
        return {}
    found: dict[str, list[str]] = {}
    title = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"### (?:Journey: )?(.*)", line):
            title = heading[1]
        elif title and (step := re.match(r"\d+\. `(src/[^`]*\.py)`", line)):
            if not (root / step[1]).is_file():
                sys.exit(f"{JOURNEYS}: {step[1]} is no file")
            found.setdefault(title, []).append(step[1])
    return found


if __name__ == "__main__":
    sys.exit(main())
