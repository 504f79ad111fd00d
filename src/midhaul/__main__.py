"""Entry point of ``midhaul`` and of ``python -m midhaul``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from midhaul.cli.app import app  # noqa: PLC0415  keeps ``import midhaul`` light

    try:
        app(prog_name="midhaul")
    except SystemExit as end:
        from midhaul.machine.children import INTERRUPTED, leave  # noqa: PLC0415

        if end.code == INTERRUPTED:
            leave(INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
