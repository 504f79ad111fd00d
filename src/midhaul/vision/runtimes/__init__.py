"""One module per kind of detector; each has a ``load`` that the spec leads to."""
