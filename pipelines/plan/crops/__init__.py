"""How windows are drawn: plain, scaled, guided by a heatmap, or holding enough of an object."""
