"""The suites `optim` and `scaling`: steps of optimizers."""
