from .inspection import Inspection as Inspection
from .inspection import inspect_model as inspect_model
