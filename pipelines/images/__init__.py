"""What an image file says about itself: format, oriented size, completeness, from its header and without decoding."""
