"""The training run: set-up, run, trainer, finish."""
