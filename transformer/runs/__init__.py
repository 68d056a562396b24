"""Trainings: the loop, the folder that keeps one, recipes, checkpoints, and the benchmark."""
