from .links import LinkMeasurement as LinkMeasurement, Links as Links
from .shaper import Pipe as Pipe
