"""Augmentation: smoothed labels, mixed examples, noise, and images that are shifted, flipped or rotated.

The functions return new arrays, except `weight_noise`, which changes the weights for a while. The first axis is the
axis of the examples. All random numbers are computed from a `fusedstep.Key`, so the same key gives the same result.
`shift`, `flip` and `rotate` move each image separately. Their random numbers also depend on the index of the image.

In the formulas, x is the examples, and t is their targets, such as probabilities of k classes. x' and t' are the
results. `partner` contains for each example the index of a random example of the same batch.

::

    label_smoothing   t' = (1 - eps) t + eps / k
    mixup             x' = lam x + (1 - lam) x[partner],  t' = lam t + (1 - lam) t[partner],  lam ~ Beta(alpha, alpha)
    cutmix            a rectangle of x' comes from x[partner]; t' is mixed according to the area of the rectangle
    gaussian_noise    x' = x + std z,  z ~ N(0, 1)         (`fusedstep.gaussian_noise`)
    weight_noise      noise on the weights inside a `with` block; at its end, the weights are restored
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
