"""Train with narrow parameters and states, and compare the losses with the losses in float32.

``python -m bench.widths`` runs the study in about eight minutes of one core, and writes bench/results/widths.json. CI
does not run the study. A narrow format has 16 or 8 bits.

Two models are trained with AdamW (beta2 = 0.999):

- `digits`: a small network on scikit-learn's digits, with the NumPy API
- `text`: a character-level transformer on the docstrings of Python's standard library, with the torch API

Each model is trained in every format in the list of `variants`. The models compute in float32. The formats differ only
in the stored arrays: parameters, gradients and states. Gradients have the dtype of their parameters, as in torch. For
one seed, all variants (formats) start with the same weights and use the same batches. The losses of two variants are
compared for each seed.

The margin, defined before the run
----------------------------------
A run gives two losses: the mean loss of the last steps on the training batches, and the mean loss on held-out data. The
difference of a loss to the loss of float32 with the same seed is called a paired difference. A variant is within the
margin if these conditions hold for both losses:

1. The mean of the paired differences is between -1% and +1% of float32's mean loss.
2. The mean of the paired differences is at most two standard errors above zero.

A variant is also outside the margin if a loss is more than 1% lower than in float32. The optimizer then behaves like
AdamW with other hyperparameters. Condition 2 limits higher losses only.

Some variants are marked as weak: they round to nearest and do not store the bits that rounding removes. Each weak
variant must be outside the margin on both models. Otherwise the study cannot detect errors. If a variant has the same
mean loss as float32, condition 2 fails by chance in one of 17 comparisons with five seeds, and in one of 26 comparisons
with ten seeds.

The sizes of the models and the learning rates were chosen in trainings with seeds of 100 and more. The study uses other
seeds. The learning rates are at most half of the best rate for float32. At these rates, the loss depends on the rate.
If the second moment v is wrong, the effect is the same as that of another rate, and is therefore detected. At the best
rate, the loss hardly depends on the rate, and random differences between trainings hide small errors.

`codes` compares the 8-bit code of csrc/formats/u8.h with other codes, on the moments of both models in float32.
"""
