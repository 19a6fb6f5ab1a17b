"""The layers, decoders and priors of the page, in node: NumPy's numbers up to rounding to float32."""

import json
import math
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

from .cases import ANSWER, all_cases, check

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed; test_browser.py asks a browser")
FILES = ("network.js", "priors.js")
SOURCE = "\n".join(resources.files("vqnp.report").joinpath(name).read_text("utf-8") for name in FILES)


def node(questions, source=SOURCE):
    """Node's answers, of one process."""
    read = "JSON.parse(require('fs').readFileSync(0, 'utf8'))"
    show = "questions => console.log(JSON.stringify(questions.map(answer)))"
    script = f"{source}\n{ANSWER}\nvqnp.inflate({read}).then({show})"
    done = subprocess.run([NODE, "-e", script], input=json.dumps(questions), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cases():
    return all_cases()


def test_every_number_is_numpys(cases):
    answers = node([question for question, _, _ in cases.values()])
    for (name, (_, *expected)), found in zip(cases.items(), answers, strict=True):
        check(name, found, *expected)


def test_erf_to_the_last_digits():
    x = np.concatenate([np.linspace(-7, 7, 141), [1e-9, -1e-300, 0.0]])
    found = node([{"erf": x.tolist()}])[0]
    assert np.allclose(found, [math.erf(v) for v in x], rtol=1e-14, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("old, new, name", [
    ("- dw * (kw - 1) - 1) / sw)", "- dw * (kw - 1)) / sw)", "conv"),
    ("+ oh;", ";", "transposed conv"),
    ("/ Math.sqrt(d)", "/ d", "transformer"),
    ("l ? add(v, gate(V, cV)) : gate(V, cV)", "gate(V, cV)", "PixelCNN"),
    ("m % books", "0", "two codebooks"),
    ("(seen + weight)", "(seen + 1)", "Markov"),
])  # fmt: skip
def test_a_planted_mistake_is_found(old, new, name, cases):
    assert old in SOURCE
    chosen = {key: case for key, case in cases.items() if name in key}
    found = node([case[0] for case in chosen.values()], SOURCE.replace(old, new))
    with pytest.raises(AssertionError):
        for (key, case), answer in zip(chosen.items(), found, strict=True):
            check(key, answer, *case[1:])
