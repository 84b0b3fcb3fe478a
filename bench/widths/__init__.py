"""Train with narrow parameters and states, and compare the losses with those of float32.

``python -m bench.widths`` runs it (about eight minutes of one core) and writes bench/results/widths.json. CI does not
run it.

Two models are trained with AdamW (beta2 = 0.999) in each of the formats of `variants`: a small network on
scikit-learn's digits, by the NumPy API (`digits`), and a character-level transformer on the docstrings of Python's
standard library, by the torch API (`text`). The arithmetic of the models is float32. Only what is stored between steps
differs: parameters, gradients (in the parameter's format, as torch has them) and states. Variants of a seed begin with
the same weights and see the same batches, so their losses are compared in pairs.

The margin, stated before the run
---------------------------------
The final loss is the mean over the last steps, taken twice: on the training batches and on held-out data. A variant is
within the margin if, for each of the two, the mean difference to float32 over the seeds

1. is at most 1% of float32's mean loss, higher or lower, and
2. is not above zero by more than two standard errors of the paired differences.

A loss that is lower by more than 1% is outside too: it says that the optimizer is no longer AdamW with these
hyperparameters. Each variant that `variants` marks as weak (rounded to nearest, without kept bits) has to be outside
on both models, or the study is too weak to show anything. The second rule alone rejects a variant without any effect
in one of 17 (five seeds) to 26 (ten seeds) comparisons.

Sizes and learning rates were chosen with seeds from 100 on, none of which is in the study. The learning rates are at
most half of what is best for float32. There the loss still depends on the rate, so that a wrong v, which acts as
another rate, shows. At the best rate the loss is flat, and the chaos of training hides small differences.

`codes` compares the 8-bit code of csrc/formats/u8.h with others. Their moments are those of the transformer's run in
float32.
"""
