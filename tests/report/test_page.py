"""The page as a file: complete, below its limit, without a network, and with a sentence for what it lacks."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from vqnp import VAE, VQVAE, HierarchicalVQVAE, nn
from vqnp.nn import Sequential, Upsample
from vqnp.priors import HierarchicalPrior, Markov
from vqnp.report import LIMIT_BYTES, Contents, decoder
from vqnp.report import page as page_of
from vqnp.report import write_page
from vqnp.report.packing import packed, packed_bytes

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """The elements of a page; fails where one is not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, *tags):
        return [attributes for tag, attributes, _ in self.elements if tag in tags]


def data_of(page):
    return json.loads(re.search(r'id="run">(.*?)</script>', page, re.S)[1])


def test_a_page_is_whole_and_named(page):
    read = Reader(page)
    ids = [a["id"] for _, a, _ in read.elements if "id" in a]
    assert len(ids) == len(set(ids)) and "{{" not in page
    assert page.startswith("<!DOCTYPE html>") and read.all("html") == [{"lang": "en"}]
    assert len(read.all("h1")) == len(read.all("title")) == len(read.all("main")) == 1
    assert "<run> & co" in read.text  # escaped, so that it is text
    targets = [a["href"] for a in read.all("a")]
    assert targets and all(target[0] == "#" and target[1:] in ids for target in targets)
    assert "0.5 to 0.25" in page and "3.5 to 4" in page  # the course of the training in the alternative text


def test_everything_that_is_seen_or_operated_has_a_name(page):
    read = Reader(page)
    assert all(a.get("alt", "").strip() for a in read.all("img")) and read.all("img")
    assert all("label" in above for tag, _, above in read.elements if tag in ("input", "select"))
    assert all(a.get("aria-labelledby") for a in read.all("section"))
    levels = [int(tag[1]) for tag, _, _ in read.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


def test_nothing_is_loaded(page):
    read = Reader(page)
    assert all(a.get("src", "data:").startswith("data:") for _, a, _ in read.elements)
    assert not read.all("link") and "@import" not in page and not re.search(r"url\((?!data:)", page)
    policy = next(a["content"] for a in read.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_a_title_cannot_end_the_script(contents):
    page = write_page(replace(contents, title="</script>", names=["</script><b>", "b", "c", "d"]))
    Reader(page)
    assert data_of(page)["examples"]["names"][0] == "</script><b>"


@pytest.mark.parametrize("quantizer", [
    nn.VectorQuantizer(6, 4), nn.EMAVectorQuantizer(6, 4), nn.EMACosineVectorQuantizer(6, 4), nn.SimVQ(6, 4),
    nn.FiniteScalarQuantizer((3, 2, 4)), nn.LookupFreeQuantizer(3), nn.GumbelQuantizer(6, 4),
    nn.ResidualVectorQuantizer(2, 5, 3), nn.ProductVectorQuantizer(5, 4),
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_the_codebooks_are_tables_whose_sum_is_the_vector(quantizer, rng):
    n, K = quantizer.num_codebooks, quantizer.num_embeddings
    k, E = rng.integers(0, K, (20, *quantizer.code_shape)), decoder.tables(quantizer)
    assert E.shape == (n, K, quantizer.embedding_dim)
    z_q = sum(E[i][column] for i, column in enumerate(k.reshape(20, n).T))
    assert np.allclose(z_q, quantizer.decode(k), atol=1e-6)


def test_the_map_keeps_distances_of_vectors_in_a_plane(rng):
    flat = rng.standard_normal((1, 12, 2)) @ np.linalg.qr(rng.standard_normal((5, 5)))[0][:2] + 3
    places, shares = decoder.plane_map(flat)
    far = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)  # noqa: E731
    assert np.allclose(far(places[0]), far(flat[0])) and np.allclose(shares, 1)
    assert np.allclose(decoder.plane_map(np.ones((1, 1, 3)))[0], 0)  # a single code


@pytest.mark.parametrize("most, name", [(255, "uint8"), (256, "uint16"), (65536, "int32")])
def test_integers_take_as_few_bytes_as_hold_them(most, name):
    assert packed_bytes(np.array([0, most]))["type"] == name


def test_what_does_not_fit_is_rounded_and_then_left_out(contents):
    both = ("float32", "float16")
    size = {(f, p): len(page_of._json(f(contents, p))) for f in (page_of._live, page_of._prior) for p in both}
    wanted = [(a, b) for a in both for b in both] + [(a, None) for a in both] + [(None, None)]
    fits = [sum(size[key] for key in zip((page_of._live, page_of._prior), pair, strict=True) if key[1])
            for pair in wanted]  # fmt: skip
    for needed in fits:
        for room in (needed, needed - 1):
            data, live, prior = page_of._chosen(contents, room)
            form = tuple(data[name]["precision"] if name in data else None for name in ("decoder", "prior"))
            best = (pair for pair, n in zip(wanted, fits, strict=True) if n <= room)
            assert form == next(best, (None, None))
            assert [bool(live), bool(prior)] == [one is None for one in form]
            if form[1] == "float16":
                assert 0 < data["prior_check"]["rounding"] < 0.05


def test_a_page_keeps_its_limit(contents):
    whole = len(write_page(contents).encode())
    for less in (0, 3_000, 6_000):
        limit = whole + 12_000 - less
        assert len(write_page(contents, limit).encode()) < limit
    assert "The weights of the decoder, " in write_page(contents, 30_000)


def test_a_weight_beyond_float16_is_never_rounded(model):
    import copy

    other = copy.deepcopy(model)
    other.decoder.layers[0].W.value[0, 0, 0, 0] = 1e6
    assert decoder.decoder_part(other, "float16") is None and decoder.decoder_part(other, "float32")


def test_a_page_without_data_begins_with_codes_at_random(contents):
    page = write_page(replace(contents, report=None, images=None, names=(), source="The data are gone."))
    assert "The data are gone." in page and data_of(page)["examples"]["names"] == []


SENTENCES = {
    "numbers": (lambda: VAE.mlp((4, 4), 2, (5,)), "numbers and not codes"),
    "levels": (lambda: HierarchicalVQVAE.conv((8, 8), 4, 2, 0, (2, 1), 2, (4, 4)), "several levels"),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_model_that_the_page_cannot_decode_has_a_sentence(name, tmp_path):
    make, sentence = SENTENCES[name]
    page = write_page(Contents("r", make(), tmp_path, prior=Markov([[0, 1]], 2)))
    assert "#walk" not in {a["href"] for a in Reader(page).all("a")}
    assert sentence in page and data_of(page) == {} and "Without the decoder" in page


def test_the_lines_of_a_report_are_rows(contents):
    from vqnp.evaluation.error import aligned

    report = aligned([("level 1", "a code for 64 samples"), ("  data's own variance", "1 < 2"), ("x", "")])
    page = write_page(replace(contents, report=report))
    assert '<tr><th scope="row">level 1</th><td>a code for 64 samples</td></tr>' in page
    assert '<tr class="part"><th scope="row">data&#x27;s own variance</th><td>1 &lt; 2</td></tr>' in page


def test_an_unknown_layer_has_a_sentence(model):
    import copy

    other = copy.copy(model)
    other.decoder = Sequential(Upsample(2))
    assert decoder.why_not(other) == "The decoder has a layer that the page cannot compute, Upsample."


def test_an_unknown_prior_and_no_prior_have_a_sentence(contents):
    several = HierarchicalPrior.of("transformer", (4, 4), ((2, 2), (4, 4)), channels=4, layers=1, heads=1)
    assert "HierarchicalPrior; vqnp sample" in write_page(replace(contents, prior=several))
    page = write_page(replace(contents, prior=Contents.prior))
    assert "vqnp prior RUN trains one" in page and "prior" not in data_of(page)


def test_a_figure_that_is_too_large_has_a_sentence(contents, tmp_path):
    (tmp_path / "codebook.png").write_bytes(bytes(700_000))
    (tmp_path / "samples.wav").write_bytes(bytes(100))
    page = write_page(replace(contents, folder=tmp_path))
    assert "It has 0.7 MB, too many" in page and "data:audio/wav;base64,AAAA" in page
    assert len(page.encode()) < LIMIT_BYTES


def test_numbers_are_little_endian_and_in_rows():
    import base64

    x = np.arange(6.0).reshape(2, 3).T.astype(">f8")
    found = packed(x, "float32")
    assert found["shape"] == [3, 2]
    assert np.frombuffer(base64.b64decode(found["base64"]), "<f4").tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.slow
def test_the_default_model_fits(tmp_path):
    page = write_page(Contents("r", VQVAE.mlp(), tmp_path))
    assert data_of(page)["decoder"]["precision"] == "float32" and len(page.encode()) < LIMIT_BYTES
