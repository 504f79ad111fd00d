# %% tags=["hidden"]
import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# # Fuse detections
#
# Three detectors look at the same images. Weighted boxes fusion makes one answer of three.

# %%
import midhaul

dataset = midhaul.open_dataset("builtin", n_images=12)
alone = {
    size: midhaul.evaluate(f"builtin:street-{size}", dataset)
    for size in "nsm"
}
answers = list(zip(*(one.answers for one in alone.values())))
fused = [midhaul.fuse(given, "wbf") for given in answers]

# %%
fused[0]

# %% [markdown]
# Did it help? The fused answers are judged like a detector's. With consensus, an object
# stays where more than half of the detectors saw it.

# %%
ids = alone["n"].image_ids
midhaul.evaluate(dict(zip(ids, fused)), dataset)

# %%
{size: round(one.coco().ap50, 4) for size, one in alone.items()}

# %%
voted = [midhaul.fuse(given, "wbf/consensus") for given in answers]
midhaul.evaluate(dict(zip(ids, voted)), dataset)
