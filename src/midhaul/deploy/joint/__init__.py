"""Joint: what runs where and who gets how much uplink, decided at once."""

from midhaul.deploy.joint.base import JointPlan, JointPlanner
from midhaul.deploy.joint.lagrangian import JointLagrangian
from midhaul.deploy.joint.milp import JointMilp
from midhaul.deploy.joint.prices import Price, price_resources, summary
from midhaul.deploy.joint.sequential import Sequential

__all__ = [
    "JointLagrangian",
    "JointMilp",
    "JointPlan",
    "JointPlanner",
    "Price",
    "Sequential",
    "price_resources",
    "summary",
]
