"""Pictures that look the same: the index finds every close pair, copies are found, different pictures are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from messes import photo
from striate.data.doctor import _similar as similar
from striate.data.doctor._similar import groups, hash_pairs, likeness, near_pairs


def brute_force(hashes, radius):
    """All pairs, one by one, by Python's own integers."""
    values = [int(h) for h in hashes]
    return [
        [i, j]
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (values[i] ^ values[j]).bit_count() <= radius
    ]


def crowded_hashes(seed, count=300):
    """Random hashes, and for each of some of them neighbours at every distance up to 12 bits, spread in any way."""
    generator = np.random.default_rng(seed)
    hashes = set(generator.integers(0, 2**64, count, dtype=np.uint64).tolist())
    for center in list(hashes)[:40]:
        for distance in range(1, 13):
            bits = generator.choice(64, distance, replace=False)
            hashes.add(center ^ sum(1 << int(bit) for bit in bits))
    return np.array(sorted(hashes), np.uint64)


@pytest.mark.parametrize("radius", range(8))
def test_the_index_finds_just_the_close_pairs(radius):
    hashes = crowded_hashes(radius)
    assert hash_pairs(hashes, radius).tolist() == brute_force(hashes, radius)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_change_nothing(chunk, monkeypatch):
    hashes = crowded_hashes(5, 60)
    expected = hash_pairs(hashes, 7)
    monkeypatch.setattr(similar, "_CHUNK", chunk)
    assert np.array_equal(hash_pairs(hashes, 7), expected)


def test_evenly_spread_bits_are_found_at_the_largest_radius():
    """Seven bits over four bands: the case in which no band agrees and one is off by a single bit."""
    a = 0x0123456789ABCDEF
    b = a ^ (0b11 | 0b11 << 16 | 0b11 << 32 | 0b1 << 48)
    c = a ^ (0b1 | 0b11 << 16 | 0b11 << 32 | 0b11 << 48)
    hashes = np.array([a, b, c], np.uint64)
    assert hash_pairs(hashes, 7).tolist()[:2] == [[0, 1], [0, 2]]


def test_few_hashes():
    assert hash_pairs(np.empty(0, np.uint64), 7).shape == (0, 2)
    assert hash_pairs(np.array([5], np.uint64), 7).shape == (0, 2)
    assert near_pairs([]).shape == (0, 2)
    assert groups(0, np.empty((0, 2), np.int64)) == []


def test_groups_are_connected():
    pairs = np.array([[1, 4], [4, 6], [2, 3]])
    assert groups(8, pairs) == [[1, 4, 6], [2, 3]]


def recoded(image, scale, quality, kind="JPEG"):
    """The picture at another size, compressed anew."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    memory = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(memory, kind, quality=quality)
    return Image.open(memory).convert("RGB")


def real_pictures():
    """Windows of 120 x 120 from the two photographs that scikit-learn carries, none overlapping.

    Without those of plain sky or blurred background (standard deviation under 12 of 255): their hashes are noise.
    """
    for whole in load_sample_images().images:
        for top in range(0, whole.shape[0] - 119, 120):
            for left in range(0, whole.shape[1] - 119, 120):
                window = whole[top : top + 120, left : left + 120]
                if window.mean(axis=2).std() >= 12:
                    yield Image.fromarray(window)


PICTURES = {"synthetic": [photo(seed, (96, 80)) for seed in range(200)], "real": list(real_pictures())}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize(("scale", "quality"), [(0.5, 75), (0.4, 85), (0.7, 40), (2.0, 60), (1.0, 20)])
def test_copies_are_found(kind, scale, quality):
    originals = PICTURES[kind][:40]
    count = len(originals)
    pairs = near_pairs([likeness(p) for p in [*originals, *(recoded(p, scale, quality) for p in originals)]])
    found = {(i, j) for i, j in pairs.tolist()}
    missed = [k for k in range(count) if (k, k + count) not in found]
    assert len(missed) <= 0.05 * count
    false = [(i, j) for i, j in found if j - i != count]
    assert not false


@pytest.mark.parametrize("kind", PICTURES)
def test_different_pictures_are_not(kind):
    assert near_pairs([likeness(picture) for picture in PICTURES[kind]]).tolist() == []


def test_the_closer_look_is_at_colours():
    """Two pictures of one brightness but other colours share their hash, and are told apart all the same."""
    grey = np.asarray(photo(3).convert("L"), np.float32)
    red = np.stack([np.minimum(grey * 0.8 + 50, 255), grey * 0.8 - 10, grey * 0.8], axis=2).clip(0, 255)
    blue = red[:, :, ::-1]
    pictures = [Image.fromarray(values.astype(np.uint8)) for values in (red, blue)]
    likenesses = [likeness(picture) for picture in pictures]
    assert (likenesses[0].hash ^ likenesses[1].hash).bit_count() <= similar.RADIUS + 8
    close = [similar.Likeness(likenesses[0].hash, each.thumbnail) for each in likenesses]
    assert near_pairs(close).tolist() == []
    assert near_pairs([close[0], close[0]]).tolist() == [[0, 1]]


def test_many_of_one_kind_are_not_compared_with_each_other(monkeypatch):
    """5,000 pictures with one hash: 4,999 comparisons, not 12 million."""
    one = likeness(photo(1))
    compared = []
    real = np.unique
    monkeypatch.setattr(similar.np, "unique", lambda a, **k: compared.append(len(a)) or real(a, **k))
    pairs = near_pairs([one] * 5000)
    assert pairs.tolist() == [[0, k] for k in range(1, 5000)]
    assert max(compared) == 5000


def test_drawings_that_are_only_alike_are_hardly_named():
    """Handwritten ones, so to say: slanted strokes whose hashes are often close, told apart by their thumbnails."""
    generator = np.random.default_rng(0)
    strokes = []
    for _ in range(300):
        image = Image.new("L", (112, 112))
        slant, shift, width = generator.uniform(-20, 20), generator.uniform(-8, 8), int(generator.integers(8, 20))
        ImageDraw.Draw(image).line((56 + shift + slant, 16, 56 + shift - slant, 96), fill=255, width=width)
        strokes.append(likeness(image.resize((28, 28), Image.Resampling.BOX)))
    candidates = hash_pairs(np.unique(np.array([each.hash for each in strokes], np.uint64)), 7)
    assert len(candidates) > 300
    assert len(near_pairs(strokes)) < 0.1 * len(candidates)


def test_a_grey_copy_of_a_grey_picture_is_found():
    grey = photo(8).convert("L")
    pairs = near_pairs([likeness(grey), likeness(recoded(grey, 0.5, 80))])
    assert pairs.tolist() == [[0, 1]]
