from .config import NetworkCompareConfig as NetworkCompareConfig
