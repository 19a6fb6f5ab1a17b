"""import vqnp costs nothing; names and subpackages load when first used; old names warn and still work."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
import types

import numpy as np
import pytest

import vqnp

HEAVY = ("numba", "llvmlite", "matplotlib", "tqdm", "scipy", "torch", "jax", "pooch")
FOUND = list(pkgutil.walk_packages(vqnp.__path__, "vqnp."))
MODULES = [info.name for info in FOUND if not info.name.endswith("__main__")]
PACKAGES = [info.name for info in FOUND if info.ispkg]
LIGHT = ("data", "metrics", "nn", "models", "training", "checkpoint", "export", "priors")


def python(script):
    """What a new interpreter prints, every warning being an error."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    assert python(f"import vqnp, sys; print([m for m in {HEAVY} if m in sys.modules])") == "[]"
    assert python(f"import vqnp, sys; dir(vqnp); print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_import_loads_no_other_module_of_vqnp():
    script = "import vqnp, sys; print(sorted(m for m in sys.modules if m.startswith('vqnp.')))"
    assert python(script) == "['vqnp._version']"


@pytest.mark.slow
@pytest.mark.parametrize("name", vqnp.SUBPACKAGES)
def test_a_subpackage_loads_when_it_is_first_used(name):
    script = f"import vqnp, sys; assert 'vqnp.{name}' not in sys.modules; print(vqnp.{name}.__name__)"
    assert python(script) == f"vqnp.{name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_numbers_need_no_pictures(name):
    assert python(f"import vqnp, sys; vqnp.{name}; print('matplotlib' in sys.modules)") == "False"


def test_every_subpackage_is_reached_from_the_top():
    top = {
        info.name
        for info in pkgutil.iter_modules(vqnp.__path__)
        if not info.name.startswith("_") and info.name != "cli"  # the command line is for the shell
    }
    assert set(vqnp.SUBPACKAGES) == top
    for name in vqnp.SUBPACKAGES:
        assert isinstance(getattr(vqnp, name), types.ModuleType)


def test_the_top_level_has_about_twenty_names():
    names = set(vqnp.__all__) - set(vqnp.SUBPACKAGES)
    assert len(names) <= 24 and {"VQVAE", "VAE", "Autoencoder", "fit", "resume", "load", "save"} <= names
    assert set(vqnp.__all__) <= set(dir(vqnp)) and len(vqnp.__all__) == len(set(vqnp.__all__))
    for name in names:
        assert getattr(vqnp, name) is not None and not isinstance(getattr(vqnp, name), types.ModuleType)
    for home, own in vqnp.NAMES.items():
        module = importlib.import_module(f"vqnp.{home}")
        assert all(getattr(vqnp, name) is getattr(module, name) for name in own)


def test_type_checkers_see_the_same_names():
    source = inspect.getsource(vqnp)
    block = source[source.index("if TYPE_CHECKING:") : source.index("SUBPACKAGES =")]
    block = "\n".join(line.removeprefix("    ") for line in block.splitlines()[1:])
    seen = {}
    exec(block, seen)
    assert set(vqnp.__all__) - {"__version__"} == {name for name in seen if not name.startswith("__")}


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'vqnp' has no attribute 'nothing'"):
        _ = vqnp.nothing


# --- names that moved ---

IN_0_1 = """
    Autoencoder CodeChain EMAVectorQuantizer InputError VAE VQVAE VectorQuantizer active_units
    class_information code_changes code_information code_length code_statistics crosscheck dead_codes
    diagnose energy_distance evaluate export fit gradcheck gradcheck_module gradient_energy interpolate
    kl_per_unit load load_dataset load_splits mutual_information nearest_code nearest_distance nn ops
    perplexity position_influence psnr radial_spectrum rate_distortion relative_spectrum resume save
    step_sizes surrogate_check swap_agreement swap_interaction utilization __version__
""".split()  # vqnp.__all__ of version 0.1
MOVED = [(name, home) for home, names in vqnp.MOVED.items() for name in names]


@pytest.fixture
def fresh(monkeypatch):
    """vqnp as if none of its old names had been used yet."""
    for name, _ in MOVED:
        monkeypatch.delitem(vars(vqnp), name, raising=False)


def test_every_name_of_version_0_1_is_there_or_moved():
    moved = {name for name, _ in MOVED}
    assert set(IN_0_1) <= set(vqnp.__all__) | moved
    assert not moved & set(vqnp.__all__)
    assert moved <= set(IN_0_1)


@pytest.mark.parametrize(("name", "home"), MOVED)
def test_an_old_name_warns_once_says_the_new_one_and_is_the_same_object(name, home, fresh):
    new = vqnp.RENAMED.get(name, name)
    sentence = rf"^vqnp\.{name} has moved: use vqnp\.{home}\.{new}$"
    with pytest.warns(DeprecationWarning, match=sentence) as caught:
        old = getattr(vqnp, name)
    assert len(caught) == 1 and caught[0].filename == __file__  # the line that used it
    assert old is getattr(importlib.import_module(f"vqnp.{home}"), new)
    assert getattr(vqnp, name) is old  # a second warning would be an error here


def test_gradcheck_is_a_package_and_can_still_be_called():
    def forward(x):
        return x * x, x

    def backward(dy, x):
        return (2 * x * dy,)

    x = np.random.default_rng(0).standard_normal(3)
    with pytest.warns(DeprecationWarning, match="use vqnp.gradcheck.gradcheck"):
        old = vqnp.gradcheck(forward, backward, x, rng=0)
    assert old == vqnp.gradcheck.gradcheck(forward, backward, x, rng=0)
    assert isinstance(vqnp.gradcheck, types.ModuleType)


# --- names and modules ---


def module_named(name):
    """The module; a test of one that is for a package that is not installed is skipped."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("vqnp"):
            raise
        pytest.skip(f"not installed: {error.name} (the extra crosscheck)")


def other_frameworks(name):
    """Whether a module imports PyTorch, JAX or TensorFlow."""
    return ".adapters." in name or name.endswith("_logits")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * other_frameworks(name)) for name in MODULES],
)
def test_no_function_hides_the_module_that_it_is_in(name):
    """vqnp.training.loop is the module, whatever vqnp.training gives by other names."""
    module = module_named(name)
    parent, _, own = name.rpartition(".")
    assert getattr(importlib.import_module(parent), own) is module


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_of_a_package_is_there(name):
    package = importlib.import_module(name)
    public = getattr(package, "__all__", [])
    assert len(public) == len(set(public)) and all(hasattr(package, each) for each in public)
    submodules = {info.name for info in pkgutil.iter_modules(package.__path__)}
    for each in submodules & set(public):
        assert isinstance(getattr(package, each), types.ModuleType)
