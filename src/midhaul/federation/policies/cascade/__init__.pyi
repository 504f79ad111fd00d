from .cascade import (
    CascadeFamily as CascadeFamily,
    CascadeSettings as CascadeSettings,
    fit_cascade as fit_cascade,
)
