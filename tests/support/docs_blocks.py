"""The fenced blocks of the documentation, and how they are run.

See CONTRIBUTING.md for what an author can write.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<marks>```+)\s*(?P<language>[\w-]*)(?P<info>.*)$"
)
_TITLE = re.compile(r'title="([^"]+)"')
_DIRECTIVE = re.compile(
    r"^\s*<!--\s*(?P<name>[a-z ]+?)(?::\s*(?P<value>.+?))?\s*-->\s*$"
)
_EXIT = re.compile(r"\s+# exit (\d+)$")
_NUMBER = re.compile(
    r"\d{8}T\d{6}Z-[\w.-]+"  # the id of a run
    r"|\b[0-9a-f]{12}\b"  # the hash of a config
    r"|[-+]?\d[\d.,:]*(?:e[-+]?\d+)?"
)
_TIMED = re.compile(r"^timeout \d+ ")
AS_WRITTEN = "MIDHAUL_DOCS_AS_WRITTEN"
"""Set, in the environment, it has every command tried with its full size."""
TIMEOUT_S = 600  # compiling the kernels of networks takes minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: the file it is in.
        line: line of its fence, from 1.
        language: the word behind the fence.
        text: what is between the fences.
        title: the file it is written to; empty for none.
        directives: comments on the lines above the fence, by name.
    """

    page: Path
    line: int
    language: str
    text: str
    title: str
    directives: dict[str, str]

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a ``console`` block.

    Attributes:
        text: what is typed.
        exit_code: what it must end with.
        output: the lines shown below it.
    """

    text: str
    exit_code: int
    output: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, from top to bottom."""
    found: list[Block] = []
    directives: dict[str, str] = {}
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    for number, line in lines:
        if directive := _DIRECTIVE.match(line):
            directives[directive["name"]] = directive["value"] or ""
        elif fence := _FENCE.match(line):
            body = _body(lines, fence["marks"], len(fence["indent"]))
            title = _TITLE.search(fence["info"])
            found.append(
                Block(
                    page=page,
                    line=number,
                    language=fence["language"],
                    text=body,
                    title=title[1] if title else "",
                    directives=directives,
                )
            )
            directives = {}
        elif line.strip():
            directives = {}
    return found


def _body(lines: Iterator[tuple[int, str]], marks: str, indent: int) -> str:
    body: list[str] = []
    for _, line in lines:
        if line.strip() == marks:
            break
        body.append(line[indent:] if line[:indent].isspace() else line)
    return "\n".join(body) + "\n"


def commands(text: str) -> list[Command]:
    """The commands of a ``console`` block; a line that ends in a backslash goes on."""
    found: list[Command] = []
    typed, shown = "", []

    def add() -> None:
        if typed:
            code = _EXIT.search(typed)
            bare = _EXIT.sub("", typed)
            expected = int(code[1]) if code else 0
            found.append(Command(text=bare, exit_code=expected, output=tuple(shown)))

    for line in text.splitlines():
        if typed.endswith("\\") and not shown:
            typed += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            add()
            typed, shown = line[2:], []
        elif line.strip():
            shown.append(line)
    add()
    return found


def smaller(block: Block, command: str) -> str:
    """A command as it is tried: an experiment with what its block is tested with."""
    words = block.directives.get("tested with")
    if not words or os.environ.get(AS_WRITTEN) or "midhaul run " not in command:
        return command
    return f"{command} {shlex.join(shlex.split(words))}"


def missing_lines(expected: tuple[str, ...], output: str) -> list[str]:
    """The expected lines that an output has not, in that order.

    White space and numbers do not matter, and ``...`` stands for any text; a line of
    nothing but dots is not looked for.
    """
    actual = [" ".join(line.split()) for line in output.splitlines()]
    missing: list[str] = []
    begin = 0
    for line in expected:
        words = " ".join(line.split())
        if words in {"...", "…"}:
            continue
        pattern = _pattern(words)
        for index in range(begin, len(actual)):
            if pattern.fullmatch(actual[index]):
                begin = index + 1
                break
        else:
            missing.append(line)
    return missing


def _pattern(words: str) -> re.Pattern[str]:
    parts: list[str] = []
    for piece in re.split(r"\.\.\.|…", words):
        literal = [re.escape(text) for text in _NUMBER.split(piece)]
        parts.append(r"[-+\w.,:]+".join(literal))
    rules = ".*".join(parts).replace(r"\─", "─")
    return re.compile(re.sub(r"─+", "─+", rules))


def run_command(
    text: str, folder: Path, expected: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run a command with bash in a folder.

    One that ``timeout`` ends is ended as soon as it has printed what is expected, or
    after :data:`TIMEOUT_S`: how soon a service is ready is the machine's business.

    Returns:
        Its exit code, 128 and the signal when it was killed, and what it printed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"NO_COLOR": "1", "COLUMNS": "400", "PYTHONWARNINGS": "default"}
    text, is_timed = _TIMED.subn(f"exec timeout {TIMEOUT_S} ", text)
    with subprocess.Popen(
        ["/bin/bash", "-o", "pipefail", "-c", text],
        cwd=folder,
        env=os.environ | quiet | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            if not is_timed:
                printed, _ = process.communicate(timeout=TIMEOUT_S)
            else:
                printed = _read_until(process, expected)
        finally:
            process.kill()
    code = process.returncode
    return (code if code >= 0 else 128 - code), printed


def _read_until(process: subprocess.Popen[str], expected: tuple[str, ...]) -> str:
    """What is printed until timeout's time is said to be over, and from then on."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if not missing_lines(expected, printed):
            process.send_signal(signal.SIGALRM)  # as timeout's own clock does
    process.wait()
    return printed
