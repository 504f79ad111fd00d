from .scenarios import (
    Arrivals as Arrivals,
    Constant as Constant,
    Gamma as Gamma,
    Poisson as Poisson,
    Recorded as Recorded,
)
from .generator import generate as generate, run_load as run_load
from .checks import check_arrivals as check_arrivals
