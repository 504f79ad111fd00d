# %% tags=["hidden"]
import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# # Compare two runs
#
# What does it cost to send every image as a JPEG of quality 10? Both runs judge the same
# images, so what the images have in common cancels out.

# %%
import midhaul

config = {
    "kind": "testbed.accuracy",
    "detectors": ["builtin:street-n"],
    "data": {"n_scenes": 24, "n_images": 0},
    "jobs": 1,
}
first = midhaul.run(config, quiet=True)
lower = {"encode": ["jpeg:10"]}
second = midhaul.run(config, set=lower, quiet=True)

# %%
comparison = midhaul.compare(first, second)
comparison

# %% [markdown]
# A tie is a result: a difference that does not stand. *Cannot tell* is none, and says why.
# The whole list is a data frame.

# %%
metrics = comparison.df().set_index("metric")
metrics[["first", "second", "ratio", "result"]].head(8)

# %% [markdown]
# The runs there are, newest first; `midhaul.open_run("last")` opens one.

# %%
midhaul.runs()
