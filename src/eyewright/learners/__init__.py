"""How each task is learnt: targets, losses, operating points; one file a task, the torch half of `tasks`."""

__all__ = ()
