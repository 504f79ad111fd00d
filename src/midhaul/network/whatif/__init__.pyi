from .config import NetworkWhatifConfig as NetworkWhatifConfig
