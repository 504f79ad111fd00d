from .config import NetworkSimulateConfig as NetworkSimulateConfig
