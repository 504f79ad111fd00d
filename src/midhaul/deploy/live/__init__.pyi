from .config import LiveConfig as LiveConfig
