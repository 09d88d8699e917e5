"""Everything random about a sample, decided in NumPy before a pixel is touched: orders, windows, colour."""
