"""What a person can apply: manifests, scripts and rate maps of a plan."""

from midhaul.deploy.exports.files import export_plan
from midhaul.deploy.exports.network import cut_rates, peer_tallies
from midhaul.deploy.exports.plan import ExportSite, Plan, Toleration

__all__ = [
    "ExportSite",
    "Plan",
    "Toleration",
    "cut_rates",
    "export_plan",
    "peer_tallies",
]
