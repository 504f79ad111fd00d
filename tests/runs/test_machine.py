"""Tests of what is known about machine, code and process."""

from __future__ import annotations

import subprocess
import sys

from midhaul.runs import manifest


def test_this_process_is_alive_and_a_dead_one_is_not() -> None:
    """A process counts by its number and its start."""
    me = manifest.this_process()
    assert manifest.is_alive(me)
    assert not manifest.is_alive(me.model_copy(update={"started": "1"}))
    assert not manifest.is_alive(me.model_copy(update={"boot": "another"}))
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not manifest.is_alive(me.model_copy(update={"pid": child.pid}))


def test_a_process_of_another_machine_counts_as_alive() -> None:
    """What cannot be seen from here is not declared dead."""
    me = manifest.this_process()
    assert manifest.is_alive(me.model_copy(update={"host": "elsewhere", "boot": "x"}))


def test_the_code_has_one_version_in_every_process() -> None:
    """The version is a function of the files."""
    code = "from midhaul.runs import manifest; print(manifest.code_version())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().partition("+")[0] == manifest.midhaul.__version__
    assert len(done.stdout.strip().partition("+")[2]) == 10


def test_the_machine_is_described_in_words() -> None:
    """What matters for a measurement is there."""
    facts = manifest.machine()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
    assert facts["os"]
    assert facts["kernel"]
