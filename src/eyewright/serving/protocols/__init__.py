"""The languages clients speak, one file each: our own, Open Inference V2, Hugging Face's tasks, Label Studio's."""

__all__ = ()
