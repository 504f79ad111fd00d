"""Images, boxes, detectors and how well they do: what is seen, and who sees it."""
