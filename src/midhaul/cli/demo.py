"""``midhaul demo``: the main job on what midhaul brings along."""

from __future__ import annotations

from midhaul.cli.options import RUNS, Json, Open, Out, Resume, Set


def demo(
    *,
    set_: Set = None,
    out: Out = RUNS,
    resume: Resume = False,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Run a testbed of two edges and a cloud over built-in scenes, to a report."""
    from importlib import resources

    from midhaul.cli.results import print_result
    from midhaul.cli.run import run_file

    packaged = resources.files("midhaul.cli").joinpath("demo.toml")
    with resources.as_file(packaged) as file:
        done = run_file(file, set_ or (), out, resume=resume)
    print_result(done, as_json=json, with_report=True, open_it=open_)
