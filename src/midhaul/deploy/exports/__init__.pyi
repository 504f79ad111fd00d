from .files import (
    cut_rates as cut_rates,
    export_plan as export_plan,
    peer_tallies as peer_tallies,
)
from .plan import ExportSite as ExportSite, Plan as Plan, Toleration as Toleration
