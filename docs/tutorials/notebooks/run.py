# %% tags=["hidden"]
import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# # Run an experiment and read it
#
# How far may an image be shrunk before a detector suffers? A config in Python takes
# lists where a file has lists; `midhaul.run` also takes the name of an experiment file.

# %%
import midhaul

config = midhaul.AccuracyConfig(
    kind="testbed.accuracy",
    detectors=["builtin:street-n"],
    resize=[1.0, 0.5, 0.25],
    data={"n_scenes": 16, "n_images": 0},
    jobs=1,
)
run = midhaul.run(config, quiet=True)
run

# %% [markdown]
# Whether the numbers may be believed stands in front: the verdict, and whatever was
# counted on the way. One number with its interval:

# %%
run.summary.estimate("f1_calibrated", "street-n · resize 50 %")

# %% [markdown]
# Every table is there as Arrow, as a data frame, or for a query.

# %%
summary = run.df("summary").query("metric == 'ap50'")
summary[["name", "value", "low", "high", "n"]]

# %%
run.sql("""
    SELECT name, avg(prepared_bytes) AS bytes
    FROM detections JOIN configurations USING (configuration)
    GROUP BY name ORDER BY bytes
""").to_pandas()

# %% [markdown]
# A chart of the report, by the beginning of its title:

# %%
run.figure("F1 against resize")

# %% [markdown]
# A mistake is told as for a file: all of them at once, each with its key.

# %%
try:
    midhaul.AccuracyConfig(kind="testbed.accuracy", detecters=["x"], resize=[3])
except midhaul.ConfigError as error:
    print(error)
