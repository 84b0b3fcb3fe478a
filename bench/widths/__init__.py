"""Train with 16-bit and 8-bit formats (narrow formats), and compare the losses with the losses in float32.

``python -m bench.widths`` runs this study in about eight minutes on one core, and writes bench/results/widths.json. CI
does not run the study.

Two models are trained with AdamW (beta2 = 0.999):

- `digits`: a small network on scikit-learn's digits, with the NumPy API
- `text`: a character-level transformer on the docstrings of Python's standard library, with the torch API

Each model is trained with every variant in `variants.VARIANTS`. A variant is a choice of formats for the stored arrays:
parameters, gradients and states. The models compute in float32. Gradients have the dtype of their parameters, as in
torch. For one seed, all variants start with the same weights and use the same batches.

The margin, defined before the run
----------------------------------
A training gives two losses: the mean loss of the last steps on the training batches, and the mean loss on held-out
data. A paired difference is a loss of a variant minus the loss of float32 with the same seed. A variant is within the
margin if these conditions hold for both losses:

1. The mean of the paired differences is between -1% and +1% of float32's mean loss.
2. The mean of the paired differences is at most two standard errors above zero.

By condition 1, a loss that is more than 1% lower than in float32 is outside the margin too. The optimizer then behaves
like AdamW with other hyperparameters. Condition 2 limits only losses that are higher than in float32.

Some variants are marked as weak: they round to nearest and do not store the bits that rounding removes. Each weak
variant must be outside the margin on both models. Otherwise the study cannot detect errors. If a variant has the same
mean loss as float32, condition 2 fails by chance in one of 17 comparisons with five seeds, and in one of 26 comparisons
with ten seeds.

The sizes of the models and the learning rates were chosen in trainings with seeds of 100 and more. The trainings of the
study use seeds below 100. The learning rates are at most half of the best rate for float32. At these rates, a small
change of the rate changes the loss. A wrong second moment v has the same effect as another rate, and is therefore
detected. At the best rate, a small change of the rate hardly changes the loss, and random differences between trainings
hide small errors.

The module `codes` compares the 8-bit code of csrc/formats/u8.h with other codes. It uses the moments of both models
after a training in float32.
"""
