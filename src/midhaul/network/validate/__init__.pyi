from .config import NetworkValidateConfig as NetworkValidateConfig
