"""Entry point of ``midhaul`` and of ``python -m midhaul``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from midhaul.cli.app import app  # noqa: PLC0415  keeps ``import midhaul`` light

    app(prog_name="midhaul")


if __name__ == "__main__":
    main()
