from .candidates import mismatch as mismatch
