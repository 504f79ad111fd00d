"""Tests of finding the lines of keys."""

from __future__ import annotations

from midhaul.runs.experiment_file import key_lines

TEXT = '''\
a = 1
b.c = 2  # a comment
"d e" = [
  1,
  # f = 3
]
text = """
g = 4
"""

[h.i]
j = { k = 1 }
[[m]]
n = 1
[[m]]
n = 2
[m.o]
p = 3
[[m.q]]
r = 4
'''


def test_every_key_is_found_on_its_line() -> None:
    """Headers, lists of tables and values of several lines are understood."""
    assert key_lines(TEXT) == {
        ("a",): 1,
        ("b", "c"): 2,
        ("d e",): 3,
        ("text",): 7,
        ("h", "i"): 11,
        ("h", "i", "j"): 12,
        ("m", 0): 13,
        ("m", 0, "n"): 14,
        ("m", 1): 15,
        ("m", 1, "n"): 16,
        ("m", 1, "o"): 17,
        ("m", 1, "o", "p"): 18,
        ("m", 1, "q", 0): 19,
        ("m", 1, "q", 0, "r"): 20,
    }
