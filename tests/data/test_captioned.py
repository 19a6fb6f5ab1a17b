"""Captioned digits: captions and images agree, combinations are held out; the vocabulary; emoji; files."""

import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most

from vqnp.data import load_dataset, load_splits, open_images
from vqnp.data.captioned_digits import (
    ALONE, CELL, COLOURS, HELD_OUT, PAIRS, PLACES, Object, caption_of, generate, objects_of, shrink,
)
from vqnp.data.vocabulary import Vocabulary, words_of

SCRIPT = Path(__file__).parents[2] / "examples" / "make_emoji.py"
OBJECT = st.builds(Object, st.integers(0, 9), st.sampled_from(list(COLOURS)))


@given(st.lists(OBJECT, min_size=1, max_size=2), st.data())
@at_most(30)
def test_a_caption_names_its_objects(objects, data):
    places = [(place,) for place in ALONE] if len(objects) == 1 else list(PAIRS.values())
    where = data.draw(st.sampled_from(places))
    scene = tuple(each._replace(place=place) for each, place in zip(objects, where, strict=True))
    assert objects_of(caption_of(scene)) == scene


@pytest.mark.parametrize("caption", ["", "red seven", "a red seven above", "a red seven above a pink three",
                                     "a red seven on the top", "a seven red", "a red a"])  # fmt: skip
def test_another_caption_is_refused(caption):
    with refused("caption", "must be like", repr(caption), where="objects_of"):
        objects_of(caption)


@pytest.mark.slow
def test_each_digit_is_held_out_in_a_colour_and_no_training_image_shows_one():
    assert sorted(digit for digit, _ in HELD_OUT) == list(range(10)) and len({c for _, c in HELD_OUT}) == 6
    counts = {}
    for split in ("train", "test", "held-out"):
        scenes = [objects_of(caption) for caption in generate(split, 600)[1]]
        held_out = [sum((o.digit, o.colour) in HELD_OUT for o in scene) for scene in scenes]
        counts[split] = set(held_out)
        assert {len(scene) for scene in scenes} == {1, 2} and len(set(scenes)) > 300
        assert {o.place for scene in scenes for o in scene} == set(PLACES)
    assert counts == {"train": {0}, "test": {0}, "held-out": {1}}
    known = {(o.digit, o.colour) for c in generate("train", 2000)[1] for o in objects_of(c)}
    assert known == set(itertools.product(range(10), COLOURS)) - HELD_OUT


def test_an_image_is_its_digits_in_their_colours_and_places_and_black_elsewhere():
    digits = load_dataset("digits", "test")
    cells = shrink(digits.images)
    images, captions = generate("test", 200)
    for image, caption in zip(images, captions, strict=True):
        rest = image.copy()
        for digit, colour, place in objects_of(caption):
            r, c = PLACES[place]
            cell = image[r : r + CELL, c : c + CELL]
            own = cells[digits.labels == digit][..., None] * np.array(COLOURS[colour]) / 255
            assert np.abs(own - cell).max(axis=(1, 2, 3)).min() <= 0.5 + 1e-4
            rest[r : r + CELL, c : c + CELL] = 0
        assert not rest.any()


def test_shrink_is_the_mean_of_areas(rng):
    """Each pixel in 2 × 2 parts, of which a mean is taken over 3 × 3."""
    x = rng.integers(0, 256, (3, 28, 28), np.uint8)
    fine = x[:, 2:26, 2:26].repeat(2, axis=1).repeat(2, axis=2).astype(float)
    expected = fine.reshape(3, 16, 3, 16, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(x), expected, rtol=1e-5)


def test_the_first_images_do_not_depend_on_how_many_there_are():
    for split in ("train", "held-out"):
        images, captions = generate(split, 30)
        few, words = generate(split, 7)
        np.testing.assert_array_equal(few, images[:7])
        assert words == captions[:7]


@pytest.mark.slow
def test_it_is_a_data_set_like_any_other():
    train, test = load_splits("captioned-digits")
    assert train.images.shape == (10_000, 32, 32, 3) and test.images.shape == (2000, 32, 32, 3)
    assert train.labels is None and len(train.captions) == 10_000 and train.images.dtype == "uint8"
    one = load_dataset("captioned-digits", "test")
    np.testing.assert_array_equal(one.images, test.images)
    assert one.captions == test.captions == generate("test")[1]
    np.testing.assert_array_equal(open_images("captioned-digits", "test").read(), test.images)
    vocabulary = Vocabulary.of(train.captions)
    assert len(vocabulary) == 27 and vocabulary.length == 8
    vocabulary.encode(test.captions)


# The vocabulary.


WORD = st.sampled_from(["a", "red", "blue", "it's", "t-shirt", "été"])


@given(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=5))
@at_most(30)
def test_a_caption_comes_back_from_its_integers(captions):
    texts = [" ".join(words) for words in captions]
    vocabulary = Vocabulary.of(texts)
    t = vocabulary.encode(texts)
    assert t.shape == (len(texts), max(map(len, captions))) and t.max() <= vocabulary.end
    assert vocabulary.decode(t) == tuple(texts)
    shouted = [f" {text.upper()}!  " for text in texts]
    np.testing.assert_array_equal(vocabulary.encode(shouted), t)


def test_words_that_are_not_in_the_vocabulary():
    vocabulary = Vocabulary(["a", "green", "grey", "four"], 3)
    with refused("caption", "only words that the prior was trained on (nearest: green, grey)",
                 "'greem' in 'a Greem four'"):  # fmt: skip
        vocabulary.encode(["a Greem four"])
    with refused("caption", "must have only words that the prior was trained on", "'xyz'") as caught:
        vocabulary.encode(["a xyz"])
    assert "nearest" not in caught.value.needed
    with refused("caption", "must have at most 3 words", "4: 'a a a a'"):
        vocabulary.encode(["a four", "a a a a"])
    for empty in ("", "  ", " . "):
        with refused("caption", "must have at least one word", repr(empty)):
            vocabulary.encode([empty])
    with refused("caption", "must be a str", "int"):
        vocabulary.encode([4])
    with refused("words", "different words", "1 different"):
        Vocabulary(["a", "a"], 2)
    with refused("words", "without punctuation", "'A'"):
        Vocabulary(["A"], 2)
    with refused("words", "must be a sequence of str", "'abc'"):
        Vocabulary("abc", 2)
    assert words_of("“Red”, (seven)") == ["red", "seven"]


# Captions in files.


def test_captions_in_an_npz(tmp_path, rng):
    x, captions = rng.integers(0, 256, (11, 4, 4, 3), np.uint8), np.array([f"image {i}" for i in range(11)])
    np.savez_compressed(tmp_path / "one.npz", images=x, captions=captions)
    train, test = load_splits(tmp_path / "one.npz")
    assert train.captions == tuple(captions[:10]) and test.captions == ("image 10",)
    np.savez(tmp_path / "two.npz", x_train=x[:8], x_test=x[8:], captions_train=captions[:8],
             test_captions=captions[8:])  # fmt: skip
    train, test = load_splits(tmp_path / "two.npz")
    assert train.captions == tuple(captions[:8]) and test.captions == tuple(captions[8:])
    np.savez(tmp_path / "few.npz", images=x, captions=captions[:4])
    with refused("captions", "must be 11, one for each image", "4", where=str(tmp_path / "few.npz")):
        load_splits(tmp_path / "few.npz")
    np.savez(tmp_path / "numbers.npz", images=x, captions=np.arange(11))
    with refused("captions", "must be an array of str with one axis", "int64 of shape (11,)"):
        load_splits(tmp_path / "numbers.npz")
    np.savez(tmp_path / "odd.npz", images=x[:1], captions=np.array([0x7FFFFFFF], "u4").view("U1"))
    with refused("captions", "must be text", "2147483647", where=str(tmp_path / "odd.npz")):
        load_dataset(tmp_path / "odd.npz")


def test_emoji_from_the_two_files_of_the_package(tmp_path, monkeypatch, capsys):
    """A sheet of 2 × 6 emoji, all of one colour each."""
    from matplotlib.image import imsave

    spec = importlib.util.spec_from_file_location("make_emoji", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    sheet = np.zeros((6 * 34, 2 * 34, 4), np.uint8)
    sheet[:34, :34] = [255, 0, 0, 255]
    sheet[34:68, :34] = [0, 0, 255, 51]
    imsave(tmp_path / "32.png", sheet)
    tones = {key: {"sheet_x": 1, "sheet_y": row} for row, key in enumerate(script.TONES)}
    hand = {"name": "RAISED FIST", "subcategory": "hand-fingers-closed", "sheet_x": 0, "sheet_y": 1}
    heart = {"name": "HEAVY BLACK HEART", "subcategory": "heart", "sheet_x": 0, "sheet_y": 0}
    (tmp_path / "emoji.json").write_text(json.dumps([heart, hand | {"skin_variations": tones}]))
    assert script.main([str(tmp_path), "--out", str(tmp_path / "emoji.npz")]) == 0
    assert "5 training images, 2 held out" in capsys.readouterr().out
    monkeypatch.setenv("VQNP_DATA", str(tmp_path))
    train, test = load_splits("emoji")
    assert test.captions == ("red heart", "raised fist, dark skin tone")
    assert train.captions[:2] == ("raised fist", "raised fist, light skin tone")
    assert (test.images[0] == [255, 0, 0]).all() and (train.images[0] == [204, 204, 255]).all()
    assert (train.images[1] == 255).all()
    monkeypatch.setenv("VQNP_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    with refused("emoji.npz", "must be in the folder that VQNP_DATA names", where="data set 'emoji'"):
        load_splits("emoji")
    assert script.main([str(tmp_path / "nowhere")]) == 2 and "make_emoji.py: " in capsys.readouterr().err
