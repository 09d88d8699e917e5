"""What a store is built from: one file a format (folders, VOC, COCO, ILSVRC, masks, HDF5, WebDataset)."""
