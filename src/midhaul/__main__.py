"""Entry point of ``midhaul`` and of ``python -m midhaul``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from midhaul.cli.app import app  # noqa: PLC0415  keeps ``import midhaul`` light
    from midhaul.cli.guard import INTERRUPTED  # noqa: PLC0415

    try:
        app(prog_name="midhaul")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            from midhaul.machine.children import leave  # noqa: PLC0415

            leave(INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
