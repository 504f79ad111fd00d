from .fugu import FUGU_BINS as FUGU_BINS
