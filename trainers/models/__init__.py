"""The networks: any timm model by name, and the project's own."""
