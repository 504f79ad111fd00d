# %% tags=["hidden"]
import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# # Judge a detector
#
# A data set, a detector, and how well the one is found by the other.

# %%
import midhaul

dataset = midhaul.open_dataset("builtin", n_images=16)
detector = midhaul.load_detector("builtin:street-s")
judgement = midhaul.evaluate(detector, dataset)
judgement

# %% [markdown]
# What odd answers say about mixed-up names stands below the numbers, as in the verdict of
# an experiment. The data set, and what was found on one of its images:

# %%
dataset

# %%
judgement.answers[0]

# %% [markdown]
# What another program has found is judged the same way: `supervision.Detections` by image,
# or the list in a file of COCO's results. Here somebody saw a car in the middle of each
# image.

# %%
car = {"category_id": 3, "bbox": [300, 200, 80, 60], "score": 0.5}
results = [{"image_id": image, **car} for image in dataset.image_ids]
midhaul.evaluate(results, dataset, names={3: "car"})
