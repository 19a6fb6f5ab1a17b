"""What config.json holds: the data, the kind of model and of network, the model's arguments, the schedule."""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vqnp._check import InputError, check_choice, fail
from vqnp._files import check_file, one_line
from vqnp.cli import quantizers

NETWORKS = ("mlp", "conv")
NEEDED = "must be a configuration that vqnp train wrote"


def constructor(kind: str, network: str) -> Callable[..., Any]:
    """VQVAE.mlp, VQVAE.conv, VAE.mlp, ..."""
    from vqnp.models import MODELS

    found: Callable[..., Any] = getattr(MODELS[kind], network)
    return found


def model_of(config: Mapping[str, Any], rng: Any = 0) -> Any:
    """The model of a configuration, with newly drawn parameters."""
    model = quantizers.made(quantizer_of(config), config["model"], rng)
    return constructor(config["kind"], config["network"])(**model, rng=rng)


def quantizer_of(config: Mapping[str, Any]) -> str:
    """The name of the quantizer, which a configuration has only if it is not "vector"."""
    return str(config.get("quantizer", "vector"))


def networks(kind: str) -> tuple[str, ...]:
    """The networks that a kind of model can have, its default first."""
    from vqnp.models import MODELS

    return tuple(network for network in NETWORKS if hasattr(MODELS[kind], network))


def network_of(kind: str, wanted: str | None = None) -> str:
    """The network that a kind of model has by default: the wanted one, if it can have it."""
    able = networks(kind)
    return wanted if wanted in able else able[0]


def arguments(kind: str, network: str, quantizer: str = "vector") -> dict[str, Any]:
    """The arguments of this constructor and quantizer that JSON can hold, with their defaults."""
    parameters = inspect.signature(constructor(kind, network)).parameters
    plain = {n: p.default for n, p in parameters.items() if n not in ("rng", "quantizer", "image_shape")}
    own = {n: list(value) if isinstance(value, tuple) else value for n, value in plain.items()}
    return quantizers.arguments(quantizer, own)


def read(path: Path) -> dict[str, Any]:
    """The configuration in a file, checked, that of an earlier version in today's form."""
    check_file(path, path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return _checked(config)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        fail(str(path), "", NEEDED, error if isinstance(error, InputError) else one_line(problem))


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    from vqnp.models import MODELS
    from vqnp.training import Schedule

    if not isinstance(config, Mapping) or not all(isinstance(config[n], dict) for n in ("model", "schedule")):
        fail("", "the file", "must hold a model and a schedule", one_line(repr(config)))
    kind = check_choice("", "kind", config.get("kind", "vqvae"), tuple(MODELS))  # not in the first runs
    network = check_choice("", "network", config.get("network", "mlp"), networks(kind))  # not in version 0.1
    if not isinstance(config["data"], str):
        fail("", "data", "must be a name or a path", one_line(repr(config["data"])))
    model, schedule = dict(config["model"]), dict(config["schedule"])
    model.pop("quantizer_options", None)  # in version 0.1, and always empty
    restart = schedule.pop("restart_dead_codes", None)  # in the schedule in version 0.1
    if restart is not None and kind == "vqvae":
        model["restart_dead_codes"] = restart
    quantizer = check_choice("", "quantizer", quantizer_of(config), tuple(quantizers.QUANTIZERS))
    if quantizer != "vector" and kind != "vqvae":
        fail("", "quantizer", "must be that of a vqvae", one_line(f"{quantizer}, of a {kind}"))
    defaults = arguments(kind, network, quantizer)
    for name in model.keys() - defaults.keys() - {"image_shape"}:
        fail("", "model", f"must have arguments of {kind}'s {network} only", one_line(repr(name)))
    schedule = asdict(Schedule(**schedule))
    return {
        "data": config["data"], "kind": kind, "network": network,
        **({"quantizer": quantizer} if quantizer != "vector" else {}),
        "model": defaults | model, "schedule": schedule,
    }  # fmt: skip


def check_same(path: Path, config: Mapping[str, Any], model: Any, trainer: Mapping[str, Any]) -> None:
    """Raise unless the configuration in the file at `path` is that of this model and of its training."""
    from vqnp.nn import describe
    from vqnp.nn.module import limited
    from vqnp.training import Schedule

    needed = "must be the configuration of the checkpoint beside it"
    if trainer:
        saved = asdict(Schedule()) | trainer["schedule"]  # the default of what is younger than the run
        for name, value in config["schedule"].items():
            if (other := saved.get(name)) != value:
                fail(str(path), "", needed, f"{name} {value}, where the checkpoint has {other}")
    try:
        with limited(sum(array.size for array in model.state_dict().values())):
            own = model_of(config)
    except (InputError, TypeError) as error:
        fail(str(path), "", needed, one_line(error))
    if describe(own) != describe(model):
        fail(str(path), "", needed, "the arguments of another model")
