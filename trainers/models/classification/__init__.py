"""Classifiers: any timm model by name, and small ones of this project."""
