"""Spaces and shapes that experts compute in: the Poincare ball, sets of points, directed graphs."""
