"""What the options of a recipe mean: help with default and choices, also for shell completion."""

__all__ = ["CHOICES", "RECIPE_HELP"]

from collections.abc import Mapping

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("muon", "adamw", "adam", "sgd", "momentum", "rmsprop", "gd"),
    "schedule": ("one_cycle", "cosine", "constant"),
    "augment": ("auto", "none", "light", "strong"),
    "flip": ("auto", "none", "horizontal", "both"),
    "baseline": ("auto", "none"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "amp": ("auto", "on", "off"),
    "step": ("plain", "adversarial", "trades", "fast", "augmix", "noise"),
    "norm": ("linf", "l2"),
}
"""The values of options that name something, in the recipe's order; a test compares them with `Recipe`."""

_AUTO = "default: chosen from the data"


def _of(name: str, default: str) -> str:
    return f"{', '.join(CHOICES[name])} ({default})"


RECIPE_HELP: Mapping[str, str] = {
    "epochs": f"passes over the training images ({_AUTO}, or what fits into --budget)",
    "batch": f"images per step ({_AUTO})",
    "accumulate": "gradient accumulation: batches per update of the weights (default 1)",
    "imgsz": f"side of the net's input in pixels ({_AUTO})",
    "frames": f"video: number of frames per clip ({_AUTO})",
    "span": "video: seconds around the middle of a clip to sample frames from (default: the whole clip)",
    "lr": "peak learning rate (default: chosen by the optimizer and model)",
    "weight_decay": "decoupled weight decay (default 0.01)",
    "l1": "L1 penalty on the weights (default 0)",
    "dropout": "dropout probability, from 0 to below 1 (default 0)",
    "label_smoothing": f"label smoothing, from 0 to below 1 ({_AUTO})",
    "huber_delta": "error at which the Huber loss becomes linear (default 1)",
    "ema": f"decay of the moving average of the weights, which is validated and exported; 0 disables it ({_AUTO})",
    "clip_norm": "clip the gradient to this norm; 0 for no limit (default 0)",
    "patience": "early stopping: stop after N epochs without a better validation score (default: never)",
    "warmup": "fraction of training in which the learning rate warms up (default 0.2)",
    "preview": f"epochs of a short first cycle that gives an early result on large data; 0 disables it ({_AUTO})",
    "mixup": "alpha of mixup; 0 disables it (default 0)",
    "cutmix": "alpha of CutMix; 0 disables it (default 0)",
    "freeze": "fraction of training in which only the head of a pretrained net is trained (default: chosen by the "
    "model)",
    "layer_decay": "factor on the learning rate per layer below the head (default: chosen by the model)",
    "eps": "perturbation bound, such as 8/255, for --step (default: chosen by the step)",
    "attack_steps": "gradient steps of the attack, for --step adversarial and trades (default: chosen by the step)",
    "beta": "weight of the consistency loss under attack, for --step trades (default: chosen by the step)",
    "sigma": "standard deviation of the noise, for --step noise (default: chosen by the step)",
    "optimizer": "optimiser: " + _of("optimizer", "default: chosen by the model"),
    "loss": "loss function, such as cross_entropy, focal, huber, mse; an unknown name lists those of the task "
    "(default: the first of the task)",
    "schedule": "learning-rate schedule: " + _of("schedule", "default one_cycle"),
    "augment": "data augmentation: " + _of("augment", "default auto"),
    "flip": "mirror training images: " + _of("flip", "default auto"),
    "baseline": "train a simpler baseline net to compare the model with: " + _of("baseline", "default auto"),
    "activation": "activation function of the net, such as relu, gelu, silu (default: the model's own)",
    "device": "device to train on: " + _of("device", "default auto"),
    "amp": "compute in bfloat16: " + _of("amp", "default auto: where it is faster"),
    "steps": "image-processing steps before the net, such as 'denoise | clahe' (default none)",
    "degrade": "restoration: the degradation to undo, such as noise:5-50 or holes:10-30 (default: chosen from the "
    "data)",
    "masks": "folder of masks for half of the holes of --degrade holes (default: all holes are generated)",
    "step": "training step: " + _of("step", "default plain") + "; also package.module:function"
    ", or a step of an installed package",
    "norm": "norm of the attack: " + _of("norm", "default linf"),
}
"""The help of each option, by its field in `Recipe`."""
