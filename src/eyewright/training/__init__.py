"""Training that a person understands: recipe, cache, augmentation, objectives, one fit loop, checkpoints."""

from eyewright.training.recipe import LOSSES, OPTIMIZERS, Recipe, read_recipe, write_recipe

__all__ = ["LOSSES", "OPTIMIZERS", "Recipe", "read_recipe", "write_recipe"]
