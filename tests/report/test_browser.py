"""The page in a real browser: what is clicked and typed changes pixels and numbers as NumPy says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vqnp.priors import Markov, TextTransformer
from vqnp.priors.sampling import guide, probabilities
from vqnp.report import write_page

from .cases import ANSWER, all_cases, check, lively
from .conftest import K

pytestmark = pytest.mark.slow
AXE = Path(__file__).resolve().parents[2] / "build/node/node_modules/axe-core/axe.min.js"
M = 16
PIXELS = """(id => { const c = document.getElementById(id), context = c.getContext('2d');
    const { data } = context.getImageData(0, 0, c.width, c.height);
    return Array.from(data).filter((_, i) => i % 4 === 0); })"""
CONTRAST = """(() => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => c.reduce((s, v, i) => s + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.disabled || !e.checkVisibility() || e.matches('script, style, option, noscript')) continue;
    const a = light(rgb(getComputedStyle(e).color).slice(0, 3)), b = light(behind(e).slice(0, 3));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(e.tagName + ' ' + e.textContent.slice(0, 30) + ' ' + ratio.toFixed(2));
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, file):
    browser.open(file)
    browser.until("window.explorer && explorer.agreement")
    yield browser
    assert browser.problems() == []  # no error, and nothing asked for from a network


def text_of(browser, name):
    return browser.run(f"document.getElementById('{name}').textContent")


def choose(browser, name, value):
    """Set a list to a value, as somebody who chooses it does."""
    field = f"document.getElementById('{name}')"
    browser.run(f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('change'))")


def bytes_of(x):
    return np.rint(255 * np.clip(x, 0, 1))


def differ(pixels, image):
    """The largest difference of a canvas from NumPy's image, in steps of 1/255, of which rounding is one."""
    return np.abs(np.array(pixels) - bytes_of(image).ravel()).max()


def test_the_browser_answers_as_numpy(opened):
    cases = all_cases()
    opened.run(ANSWER)
    questions = json.dumps([question for question, _, _ in cases.values()])
    answers = opened.run(f"vqnp.inflate({questions}).then(asked => asked.map(answer))")
    for (name, (_, *expected)), found in zip(cases.items(), answers, strict=True):
        check(name, found, *expected)


def test_the_page_says_how_well_it_agrees(opened):
    found = opened.run("explorer.agreement")
    assert 0 <= found["image"] < 1e-6 and 0 <= found["logits"] < 1e-4
    assert "differs from NumPy's by at most" in text_of(opened, "agreement")


def test_an_exchanged_code_changes_the_image(opened, model, contents):
    codes = model.encode(contents.images)[:1]
    assert opened.run("explorer.state.codes") == codes.ravel().tolist()
    assert differ(opened.run(PIXELS + "('picture')"), model.decode(codes)[0]) <= 1
    assert differ(opened.run(PIXELS + "('original')"), contents.images[0] / 255) == 0
    opened.click("#grid [role=row]:nth-child(2) button:nth-child(3)")  # position 6
    assert opened.run("explorer.state.position") == 6
    E = model.quantizer.decode(np.arange(K))
    far = np.linalg.norm(E - E[codes[0, 1, 2]], axis=1)
    nearest = [k for k in np.argsort(far, kind="stable") if k != codes[0, 1, 2]]
    shown = opened.run("Array.from(document.querySelectorAll('#near button'), b => b.textContent)")
    assert [text.split()[1] for text in shown] == [str(k) for k in nearest]
    assert f"{far[nearest[0]]:.3g}" in shown[0]
    opened.click("#near li:nth-child(3) button")
    codes[0, 1, 2] = nearest[2]
    assert differ(opened.run(PIXELS + "('picture')"), model.decode(codes)[0]) <= 1
    assert "1 code exchanged" in text_of(opened, "changed")
    opened.click("#back")
    assert opened.run("explorer.state.codes") == model.encode(contents.images)[0].ravel().tolist()


def test_the_image_and_the_map_can_be_clicked(opened):
    box = "(({ x, y, width, height }) => [x, y, width, height])(picture.getBoundingClientRect())"
    opened.run("document.querySelector('#picture').scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y, w, h = opened.run(box)
    opened.click_at(x + 0.9 * w, y + 0.3 * h)
    assert opened.run("explorer.state.position") == 7
    opened.click(f"#map circle:nth-of-type({K})")
    assert opened.run("explorer.state.codes[7]") == K - 1
    assert opened.run("document.querySelector('#map .own title').textContent").startswith(f"code {K - 1}")


def test_the_grid_is_worked_with_the_keyboard(opened):
    opened.click("#grid button")
    for key, code in (("ArrowRight", 39), ("ArrowDown", 40), ("ArrowDown", 40), ("ArrowLeft", 37)):
        opened.key(key, code)
    assert opened.run("explorer.state.position") == 8
    before = opened.run("explorer.state.codes[8]")
    opened.key("+", 187)
    assert opened.run("explorer.state.codes[8]") == (before + 1) % K
    opened.key("End", 35)
    focused = opened.run("[document.activeElement.tabIndex, document.activeElement.ariaSelected]")
    assert opened.run("explorer.state.position") == M - 1 and focused == [0, "true"]
    opened.key("ArrowDown", 40)  # there is no row below
    assert opened.run("explorer.state.position") == M - 1


def test_a_walk_goes_from_one_image_to_the_other(opened, model, contents):
    a, b = model.encode(contents.images)[:2]
    order = [m for m in range(M) if a.flat[m] != b.flat[m]]
    assert opened.run("explorer.walk.order") == order
    opened.run("document.querySelector('#step').focus()")
    for _ in range(3):
        opened.key("ArrowRight", 39)
    mixed = a.copy()
    mixed.flat[order[:3]] = b.flat[order[:3]]
    assert differ(opened.run(PIXELS + "('walk-now')"), model.decode(mixed[None])[0]) <= 1
    opened.key("End", 35)
    assert differ(opened.run(PIXELS + "('walk-now')"), model.decode(b[None])[0]) <= 1
    opened.until(f"document.querySelectorAll('#steps rect.done').length === {len(order)}")
    choose(opened, "order", "near")
    E = model.quantizer.decode(np.arange(K))
    far = np.linalg.norm(E[a.flat[order]] - E[b.flat[order]], axis=1)
    found = opened.run("explorer.walk.order")
    assert sorted(found) == order and np.all(np.diff([far[order.index(m)] for m in found]) >= -1e-6)


def test_a_sample_is_drawn_step_by_step(opened, model, prior):
    choose(opened, "class", 2)
    for _ in range(3):
        opened.click("#next")
    codes = opened.run("explorer.drawing.codes")
    grid = np.array(codes + [0] * (M - 3)).reshape(1, 4, 4)
    a = prior.logits(grid, np.array([2])).reshape(M, K).astype(np.float64)
    p = np.exp(a - a.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    assert np.allclose(opened.run("Array.from(explorer.drawing.p)"), p[3], atol=1e-5)
    bits = -np.log2([p[m, k] for m, k in enumerate(codes)]).sum()
    assert f"3 of {M} codes drawn, {bits:.1f} bits" in text_of(opened, "drawn-text")
    best = int(p[3].argmax())
    shown = opened.run("document.querySelector('#odds button').textContent")
    assert shown == f"code {best}{100 * p[3, best]:.1f} %"
    opened.click("#odds button")
    assert opened.run("explorer.drawing.codes") == [*codes, best]
    opened.click("#rest")
    opened.until(f"explorer.drawing.codes.length === {M}")
    whole = np.array(opened.run("explorer.drawing.codes")).reshape(1, 4, 4)
    assert differ(opened.run(PIXELS + "('drawn')"), model.decode(whole)[0]) <= 1
    opened.click("#again")
    for _ in range(3):
        opened.click("#next")
    assert opened.run("explorer.drawing.codes") == codes  # a seed gives one sample


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_text_has_contrast_and_nothing_overflows(browser, file, dark, width):
    browser.open(file, width, 800, dark)
    browser.until("window.explorer && explorer.agreement")
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run(CONTRAST) == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    if AXE.exists():  # npm install --prefix build/node axe-core
        browser.run(AXE.read_text(encoding="utf-8") + ";0")
        assert browser.run("axe.run().then(found => found.violations.map(v => v.id))") == []
    pictures = "Array.from(document.querySelectorAll('canvas:not([aria-hidden]), svg'))"
    assert browser.run(f"{pictures}.filter(e => e.checkVisibility() && !e.ariaLabel).map(e => e.id)") == []


def test_a_text_and_guidance_change_the_probabilities(browser, contents, tmp_path):
    rng = np.random.default_rng(3)
    words = ["a", "one", "red"]
    text = lively(TextTransformer(K, (4, 4), words, 4, channels=8, layers=1, heads=2, rng=rng), rng, 2.0)
    path = tmp_path / "text.html"
    path.write_text(write_page(replace(contents, prior=text)), encoding="utf-8")
    browser.open(path)
    browser.until("window.explorer && explorer.agreement")
    nothing = text.logits(np.zeros((1, 4, 4), int))[0, 0, 0]
    given = text.logits(np.zeros((1, 4, 4), int), ["a red one"])[0, 0, 0]
    assert np.abs(given - nothing).max() > 0.1
    for typed, guidance, expected in (
        ("", 1, nothing), ("A RED, one.", 1, given), ("a red one", 3, guide(given, nothing, 3)),
    ):  # fmt: skip
        choose(browser, "text", typed)
        choose(browser, "guidance", guidance)
        found = browser.run("Array.from(explorer.drawing.p)")
        assert np.allclose(found, probabilities(expected), atol=1e-5)
    choose(browser, "text", "a blue one")
    assert text_of(browser, "drawn-text") == "The prior does not know the word blue."
    choose(browser, "text", "a a a a a")
    assert text_of(browser, "drawn-text") == "A text has at most 4 words, and this one 5."
    assert browser.problems() == []


def test_a_page_without_data_or_classes(browser, contents, tmp_path):
    chain = Markov(np.random.default_rng(0).integers(0, K, (20, 4, 4)), K)
    path = tmp_path / "other.html"
    other = replace(contents, report=None, images=None, names=(), source="gone", prior=chain)
    path.write_text(write_page(other), encoding="utf-8")
    browser.open(path)
    browser.until("window.explorer && explorer.agreement")
    assert browser.run("document.querySelector('#walk').hidden") and browser.problems() == []
    browser.click("#next")
    assert len(browser.run("explorer.drawing.codes")) == 1
    assert browser.run("explorer.agreement.logits") < 1e-6
