"""``midhaul new``: an experiment file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midhaul.cli.options import Json


def new(
    kind: Annotated[
        str | None,
        typer.Argument(help="Kind of the experiment; without it they are listed."),
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Print an experiment file with every key, its default and its meaning."""
    from midhaul.cli import output
    from midhaul.errors import ConfigError
    from midhaul.kinds import KINDS, kind_named
    from midhaul.runs.template import keys, template

    if kind is None:
        listed = [{"kind": k.name, "summary": k.summary} for k in KINDS.values()]
        if json:
            output.print_json(listed)
        else:
            output.print_table(["kind", "what for"], [i.values() for i in listed])
        return
    config = kind_named(kind).load_config()
    if json:
        output.print_json([key.plain() for key in keys(config)])
        return
    text = template(config.model_validate({"kind": kind}))
    if out is None:
        output.print_line(text.rstrip())
        return
    if out.exists():
        message = f"{out} exists"
        raise ConfigError(message, "choose another name for --out, or delete it")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}"
        raise ConfigError(message) from error
    output.say(f"wrote {out}; run it with: midhaul run {out}")
