"""Training that a person understands: recipe, cache, augmentation, objectives, one fit loop, checkpoints."""

from eyewright.training.recipe import OPTIMIZERS, Recipe, loss_names, read_recipe, write_recipe

__all__ = ["OPTIMIZERS", "Recipe", "loss_names", "read_recipe", "write_recipe"]
