from .config import (
    AccuracyConfig as AccuracyConfig,
    MeasureConfig as MeasureConfig,
    OverheadConfig as OverheadConfig,
)
from .grid import (
    Configuration as Configuration,
    expand as expand,
)
from .launcher import (
    Launcher as Launcher,
    LocalLauncher as LocalLauncher,
    launch as launch,
)
from .links import Links as Links
from .load import generate as generate
from .nodes import NodeSettings as NodeSettings
from .workload import run_load as run_load
