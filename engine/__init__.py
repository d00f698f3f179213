"""The mathematics of a tiny GPT in NumPy or CuPy: every forward, every backward, every weight."""
