# %% tags=["hidden"]
import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# # Divide an uplink, plan a gateway
#
# Two cameras and a microphone share 360 kbit/s. What each rate buys is a measured curve.

# %%
import midhaul
from midhaul.deploy import Demands, seed_curve

kinds = {"door": "yolo", "yard": "yolo", "hall": "audio"}
curves = [seed_curve(kind, "cloud") for kind in kinds.values()]
demands = Demands.of(list(kinds), [2.0, 1.0, 1.0], curves)
midhaul.allocate(demands, 360e3, "hull")

# %%
curves[0]

# %% [markdown]
# An even split of the same uplink, for comparison:

# %%
midhaul.allocate(demands, 360e3, "even")

# %% [markdown]
# What may run on the gateway itself saves uplink, but its container image must fit on the
# gateway's disk.

# %%
from midhaul.deploy import Analytic, Gateway, PlacementProblem, builtin_images

analytics = tuple(
    Analytic(
        name=f"{place}-{kind}",
        image=f"{kind}{number}",
        saved_bps=seed_curve(kind, "cloud").rates_bps[-1],
        cloud_curve=seed_curve(kind, "cloud"),
        gateway_curve=seed_curve(kind, "gateway"),
    )
    for number, place in enumerate(("door", "yard", "hall"), 1)
    for kind in ("yolo", "audio")
)
gateway = Gateway(name="roof", disk_bytes=8e9, uplink_bps=800e3)
problem = PlacementProblem(
    analytics=analytics, images=builtin_images(), gateways=(gateway,)
)
problem

# %%
plan = midhaul.place(problem, "mincut+exact")
plan

# %%
plan.placement
