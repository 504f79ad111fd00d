from .launcher import (
    Launcher as Launcher,
    LocalLauncher as LocalLauncher,
    launch as launch,
)
from .settings import NodeSettings as NodeSettings
