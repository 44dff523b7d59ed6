"""Integer networks at ANN speed, equal to the reference bit for bit."""
