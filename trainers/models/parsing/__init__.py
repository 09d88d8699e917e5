"""Networks for scene parsing: FCN, Mixed Context and Message Passing heads on dilated backbones."""
