from .config import NetworkEstimateConfig as NetworkEstimateConfig
