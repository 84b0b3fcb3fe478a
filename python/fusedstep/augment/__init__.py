"""Regularisation of the data: smoothed labels, mixed examples, noise, and images that are shifted, flipped or rotated.

The functions return new arrays. The first axis counts the examples. Every random choice is a function of a
`fusedstep.Key` (and, in functions that move each image separately, of the number of the image), so the same key gives
the same result.

::

    label_smoothing   t' = (1 - eps) t + eps / k
    mixup             x' = lam x + (1 - lam) x[partner],  t' likewise,  lam ~ Beta(alpha, alpha)
    cutmix            a rectangle of x comes from x[partner]; t' mixed by its area
    gaussian_noise    x' = x + std z                       (`fusedstep.gaussian_noise`)
    weight_noise      the same on the weights, removed afterwards
    shift, flip, rotate   random moves of small images
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ..ops.noise import gaussian_noise as gaussian_noise
from .images import flip as flip
from .images import rotate as rotate
from .images import shift as shift
from .labels import label_smoothing as label_smoothing
from .labels import one_hot as one_hot
from .mixing import Mixed as Mixed
from .mixing import cutmix as cutmix
from .mixing import mixup as mixup
from .weights import weight_noise as weight_noise

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
