"""Trainings: the loop, the folder that keeps one, recipes and checkpoints."""
