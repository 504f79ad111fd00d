from .config import LatencyConfig as LatencyConfig
