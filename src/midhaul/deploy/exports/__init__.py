"""What a person can apply: manifests, scripts and rate maps of a plan."""

from midhaul.deploy.exports.files import export_plan
from midhaul.deploy.exports.plan import Plan, Site

__all__ = ["Plan", "Site", "export_plan"]
