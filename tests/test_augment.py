"""Augmentation: known exact results, and results that depend only on the key and the index of the example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import augment, nn

KEY = fs.Key(5, 1)
Array = np.ndarray[Any, Any]


# labels


def test_smoothed_labels_sum_to_one_and_equal_the_closed_form() -> None:
    """Labels and their one-hot rows give the same result. Without smoothing (eps = 0), the result is one-hot."""
    t = augment.label_smoothing([0, 3, 1], 0.2, num_classes=4, dtype=np.float64)
    assert np.allclose(t.sum(axis=1), 1, rtol=1e-15)
    assert np.allclose(t, 0.8 * np.eye(4)[[0, 3, 1]] + 0.05)
    again = augment.label_smoothing(augment.one_hot([0, 3, 1], 4), 0.2)
    assert again.dtype == np.float32 and np.allclose(again, t)
    assert np.array_equal(augment.label_smoothing([1], 0.0, 2), [[0, 1]])


def test_loss_of_smoothed_targets_agrees_with_torch(torch: Any) -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    ours = nn.SoftmaxNLL()(z, augment.label_smoothing(labels, 0.3, 4, np.float64))
    theirs = torch.nn.functional.cross_entropy(torch.from_numpy(z), torch.from_numpy(labels), label_smoothing=0.3)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)


# mixing


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixup_mixes_inputs_and_targets_with_the_same_weights(dtype: Any, per_row: bool) -> None:
    """If per_row is False, all examples have the same weight. A second call with the same key has the same result."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((20, 3, 2)).astype(dtype), augment.one_hot(rng.integers(0, 5, 20), 5, dtype)
    before = x.copy()
    m = augment.mixup(x, t, KEY, alpha=0.7, per_row=per_row)
    w = m.weight.reshape(-1, 1, 1)
    np.testing.assert_allclose(m.x, w * x + (1 - w) * x[m.partner], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(m.targets, m.weight[:, None] * t + (1 - m.weight[:, None]) * t[m.partner], rtol=1e-5)
    assert m.x.dtype == m.targets.dtype == dtype and np.array_equal(x, before)
    assert len(set(m.weight)) == (20 if per_row else 1) and sorted(m.partner) == list(range(20))
    again = augment.mixup(x, t, KEY, alpha=0.7, per_row=per_row)
    assert np.array_equal(again.x, m.x) and not np.array_equal(augment.mixup(x, t, fs.Key(6)).x, m.x)


def test_mixup_weights_have_a_beta_distribution() -> None:
    x = np.zeros((20000, 1))
    w = augment.mixup(x, x, KEY, alpha=0.4, per_row=True).weight
    assert w.mean() == pytest.approx(0.5, abs=0.01)
    assert w.var() == pytest.approx(0.25 / 1.8, rel=0.03)  # Beta(alpha, alpha) has the variance 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("shape", [(30, 8, 8), (30, 3, 6, 10)])
def test_cutmix_pastes_one_rectangle_and_mixes_targets_by_its_area(shape: tuple[int, ...], per_row: bool) -> None:
    """Before the call, the target and all pixels of image i have the value i.

    If per_row is False, the rectangle is the same in all images.
    """
    n, height, width = shape[0], *shape[-2:]
    x = np.broadcast_to(np.arange(n, dtype=np.float64).reshape(-1, *[1] * (len(shape) - 1)), shape).copy()
    t = np.arange(n, dtype=np.float64).reshape(-1, 1)
    m = augment.cutmix(x, t, KEY, per_row=per_row)
    boxes = set()
    for i, (image, partner) in enumerate(zip(m.x.reshape(n, -1, height, width), m.partner, strict=True)):
        if partner == i:
            assert (image == i).all()
            continue
        assert set(np.unique(image)) <= {i, partner} and (image == image[0]).all()
        pasted = image[0] == partner
        rows, cols = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        # The same columns are pasted in every pasted row. There are no gaps between the pasted rows.
        assert pasted.sum() == len(rows) * len(cols) == (np.ptp(rows) + 1 if len(rows) else 0) * len(cols)
        assert 1 - m.weight[i] == pytest.approx(pasted.mean(), abs=1e-12)
        assert m.targets[i, 0] == pytest.approx(m.weight[i] * i + (1 - m.weight[i]) * partner)
        boxes.add((rows.tobytes(), cols.tobytes()))
    assert len(boxes) == 1 or per_row


def test_cutmix_with_alpha_1_pastes_rectangles_of_every_size() -> None:
    x = np.zeros((3000, 32, 32))
    w = augment.cutmix(x, x[:, 0, :1], KEY, per_row=True).weight
    # The weight is the fraction of the image outside the rectangle. With alpha = 1 (the default), the area of the
    # rectangle is drawn uniformly from 0 to the whole image. But the part of the rectangle that lies outside the image
    # is cut off. So the mean area that is pasted is less than half of the image.
    assert 0.55 < w.mean() < 0.8 and w.min() < 0.1 and w.max() > 0.98


# images


def test_shift_moves_each_image_separately_and_fills_the_margin() -> None:
    """All 25 combinations of a vertical and a horizontal move by -2 to 2 pixels occur.

    Both channels of an image move together.
    """
    x = np.arange(1.0, 26).reshape(1, 1, 5, 5).repeat(300, axis=0).repeat(2, axis=1)
    moved = augment.shift(x, KEY, max_shift=2, fill=-1)
    seen = set()
    for image in moved:
        assert (image[0] == image[1]).all()
        inner = image[0][image[0] > 0]
        at = np.argwhere(image[0] == inner[0])[0]
        start = np.argwhere(x[0, 0] == inner[0])[0]
        dy, dx = at - start
        expected = np.full((5, 5), -1.0)
        expected[max(dy, 0) : 5 + min(dy, 0), max(dx, 0) : 5 + min(dx, 0)] = x[0, 0][
            max(-dy, 0) : 5 + min(-dy, 0), max(-dx, 0) : 5 + min(-dx, 0)
        ]
        assert np.array_equal(image[0], expected)
        seen.add((int(dy), int(dx)))
    assert len(seen) == 25


def test_flip_mirrors_each_image_with_probability_p() -> None:
    """By default, left and right are exchanged. With axis=-2, top and bottom are exchanged."""
    x = np.random.default_rng(0).random((4000, 2, 3)).astype(np.float32)
    y = augment.flip(x, KEY, p=0.25)
    flipped = (y == x[:, :, ::-1]).all(axis=(1, 2))
    assert (flipped | (y == x).all(axis=(1, 2))).all()
    assert flipped.mean() == pytest.approx(0.25, abs=0.03)
    assert np.array_equal(augment.flip(x, KEY, p=1.0, axis=-2), x[:, ::-1])


def test_rotate_turns_both_channels_of_an_image_by_the_same_random_angle() -> None:
    """The value of a pixel is its y coordinate, so the angle can be computed from the rotated image.

    An angle of 0 must not change the image.
    """
    size = 21
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = np.stack([y + 0 * x] * 200)[:, None].repeat(2, axis=1)
    turned = augment.rotate(images, KEY, max_degrees=30)
    inner = np.hypot(y, x) < size / 2 - 2
    angles = []
    for image in turned:
        first, second = (np.linalg.lstsq(np.stack([x[inner], y[inner]], axis=1), plane[inner])[0] for plane in image)
        assert np.allclose(first, second)  # the two channels have the same angle
        assert np.hypot(*first) == pytest.approx(1, abs=1e-10)  # linear interpolation of a linear function is exact
        angles.append(np.degrees(np.arctan2(-first[0], first[1])))
    assert max(np.abs(angles)) <= 30 and min(angles) < -25 and max(angles) > 25
    unturned = augment.rotate(np.eye(5)[None], fs.Key(0), 0.0)
    assert np.array_equal(unturned[0], np.eye(5))


@pytest.mark.parametrize("act", [augment.shift, augment.flip, augment.rotate])
def test_slices_of_a_batch_give_the_same_images_as_the_batch(act: Any) -> None:
    """The first image of the slice has the index `first_row` in the batch. Another key gives other images."""
    x = np.random.default_rng(0).random((40, 3, 6, 5)).astype(np.float32)
    before, whole = x.copy(), act(x, KEY)
    assert whole.dtype == np.float32 and whole.shape == x.shape and np.array_equal(x, before)
    assert np.array_equal(act(x[17:31], KEY, first_row=17), whole[17:31])
    assert not np.array_equal(act(x, fs.Key(8)), whole)
    assert act(x[:0], KEY).shape == (0, 3, 6, 5)


# noise on the weights


def test_weight_noise_depends_on_the_key_and_is_removed_afterwards() -> None:
    """The noise is removed even if the `with` block raises an error."""
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3), rng=0)
    before = model.arena.copy()
    with pytest.raises(ZeroDivisionError), augment.weight_noise(model.params, 0.1, KEY):
        noise = model.arena - before
        for i, array in enumerate(model.params.values()):
            expected = fs.gaussian_noise(array.shape, 0.1, KEY.fold(i))
            start = before[: array.size] if i == 0 else None
            if start is not None:
                np.testing.assert_array_equal(array.ravel(), start + expected.ravel())
        assert noise.std() == pytest.approx(0.1, rel=0.1)
        raise ZeroDivisionError
    assert np.array_equal(model.arena, before)


def test_weight_noise_refuses_read_only_arrays_and_writes_nothing() -> None:
    w = np.ones(3)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with (
        pytest.raises(ValueError, match=r"weight_noise: params\[1\] must be writeable"),
        augment.weight_noise([w, frozen], 0.1, KEY),
    ):
        pass
    assert (w == 1).all()


IMAGES = np.zeros((2, 4, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: augment.one_hot([0, 4], 4), ValueError, r"one_hot: labels must be from 0 to 3; got 4"),
        (lambda: augment.one_hot([-1], 4), ValueError, r"labels must be from 0 to 3; got -1"),
        (lambda: augment.one_hot([0.0], 4), ValueError, r"labels must be integers of shape \(n,\); got float64 \(1,\)"),
        (
            lambda: augment.label_smoothing([0], 1.5, 3),
            ValueError,
            r"label_smoothing: eps must be from 0 to 1; got 1.5",
        ),
        (lambda: augment.label_smoothing([0]), ValueError, r"num_classes must be given if targets are labels; got"),
        (
            lambda: augment.label_smoothing(np.ones((2, 3)), num_classes=4),
            ValueError,
            r"\(n, 4\); got float64 \(2, 3\)",
        ),
        (
            lambda: augment.mixup(IMAGES, np.array([0, 1]), KEY),
            ValueError,
            r"mixup: targets must be float32 or float64",
        ),
        (lambda: augment.mixup(IMAGES, np.ones((3, 2)), KEY), ValueError, r"mixup: targets must have 2 rows; got 3"),
        (lambda: augment.mixup(IMAGES, IMAGES, KEY, 0), ValueError, r"mixup: alpha must be above 0; got 0"),
        (lambda: augment.mixup(IMAGES, IMAGES, 3), TypeError, r"mixup: key must be a Key"),
        (
            lambda: augment.cutmix(np.ones((2, 4)), IMAGES, KEY),
            ValueError,
            r"\(n, ..., height, width\); got float64 \(2, 4\)",
        ),
        (lambda: augment.shift(IMAGES, KEY, -1), ValueError, r"shift: max_shift must be at least 0"),
        (lambda: augment.shift(IMAGES.astype(int), KEY), ValueError, r"shift: images must be float32 or float64"),
        (lambda: augment.flip(IMAGES, KEY, axis=0), ValueError, r"flip: axis must be -1 or -2; got 0"),
        (lambda: augment.rotate(IMAGES, KEY, -3), ValueError, r"rotate: max_degrees must be at least 0; got -3"),
    ],
)
def test_error_messages_say_what_an_argument_must_be_and_what_it_was(
    call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
