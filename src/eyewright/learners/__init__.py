"""How each task is learnt: targets, losses, operating points; one file per task, the torch half of `tasks`."""

__all__ = ()
