from .files import export_plan as export_plan
from .network import cut_rates as cut_rates, peer_tallies as peer_tallies
from .plan import ExportSite as ExportSite, Plan as Plan, Toleration as Toleration
