"""Drawing on pictures: contact sheets, heatmaps and windows laid over an image, masks in colours."""
