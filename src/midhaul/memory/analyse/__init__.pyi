from .config import AnalyseConfig as AnalyseConfig
