from .drift import Alarm as Alarm, DriftMonitor as DriftMonitor
from .online import OnlineRefit as OnlineRefit
from .settings import OnlineSettings as OnlineSettings
from .streaming import StreamResult as StreamResult, stream as stream
