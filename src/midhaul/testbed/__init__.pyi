from .links.links import Links as Links
from .load.generator import generate as generate, run_load as run_load
from .measure.config import (
    AccuracyConfig as AccuracyConfig,
    MeasureConfig as MeasureConfig,
    OverheadConfig as OverheadConfig,
)
from .measure.from_config import Configuration as Configuration, expand as expand
from .nodes.launcher import (
    Launcher as Launcher,
    LocalLauncher as LocalLauncher,
    launch as launch,
)
from .nodes.settings import NodeSettings as NodeSettings
