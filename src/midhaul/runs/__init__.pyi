from .config import Config as Config, Section as Section
from .experiment_file import (
    ExperimentFile as ExperimentFile,
    Override as Override,
    read_file as read_file,
)
from .listing import (
    ConfigDifference as ConfigDifference,
    differences as differences,
    find_run as find_run,
    list_runs as list_runs,
)
from .perform import perform as perform
from .progress import (
    LineProgress as LineProgress,
    Progress as Progress,
    SilentProgress as SilentProgress,
)
from .run import Run as Run
from .spec import Spec as Spec
from .summary import ReportFile as ReportFile, Summary as Summary
from .tables import Column as Column, Table as Table
