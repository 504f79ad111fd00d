from .config import SimulateConfig as SimulateConfig
