"""When requests are sent: arrival processes for the server scenario."""

from midhaul.testbed.arrivals.base import Arrivals
from midhaul.testbed.arrivals.checks import check_arrivals
from midhaul.testbed.arrivals.files import read_arrivals
from midhaul.testbed.arrivals.recorded import Recorded
from midhaul.testbed.arrivals.renewal import Constant, Gamma, Poisson

__all__ = [
    "Arrivals",
    "Constant",
    "Gamma",
    "Poisson",
    "Recorded",
    "check_arrivals",
    "read_arrivals",
]
