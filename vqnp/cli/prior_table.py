"""What vqnp prior prints: bits per image and nats per code, of the prior and of the baselines."""

import math
from collections.abc import Mapping
from typing import Any


def baselines(codes: list[Any], num_embeddings: Any) -> dict[str, tuple[float, float]]:
    """The bits of each baseline, on the training codes and on the test codes; of several levels their sum."""
    from vqnp.priors import baseline_bits

    if isinstance(codes[0], tuple):
        levels = zip(*codes, num_embeddings, strict=True)  # each without those above
        tables = [baselines([train, test], K) for train, test, K in levels]
        rows = {name: [each[name] for each in tables] for name in tables[0]}
        return {name: (sum(a for a, _ in row), sum(b for _, b in row)) for name, row in rows.items()}

    train, test = (baseline_bits(codes[0], k, num_embeddings) for k in codes)
    return {name: (bits, test[name]) for name, bits in train.items()}


def as_dict(table: Mapping[str, tuple[float, float]], num_latents: int) -> dict[str, Any]:
    """The table: bits per image and nats per code by the row's name, each of the training and test data."""
    bits = {name: dict(zip(("train", "test"), row, strict=True)) for name, row in table.items()}
    per_code = math.log(2) / num_latents
    nats = {name: {part: b * per_code for part, b in row.items()} for name, row in bits.items()}
    return {"bits_per_image": bits, "nats_per_code": nats}


def printed(table: Mapping[str, tuple[float, float]], figures: Mapping[str, Any]) -> str:
    """The table, and which codes of which data it is about."""
    M, K = figures["num_latents"], figures["num_embeddings"]
    lines = [f"{'':<30}{'bits an image':>18}{'nats a code':>18}"]
    lines += [f"{'':<30}" + f"{'train':>9}{'test':>9}" * 2]
    bits, nats = as_dict(table, M).values()
    for name in table:
        numbers = [f"{b:9.2f}" for b in bits[name].values()] + [f"{x:9.4f}" for x in nats[name].values()]
        lines.append(f"{name:<30}" + "".join(numbers))
    for name, pair in figures.get("bits_per_level", {}).items():
        lines.append(f"  {name:<28}" + "".join(f"{b:9.2f}" for b in pair.values()))
    of = " and ".join(map(str, K)) if isinstance(K, tuple) else K
    lines.append(f"{'codes':<30}{M} of {of} an image")
    sizes = f"{figures['train_images']} images to train, {figures['test_images']} to test"
    return "\n".join([*lines, f"{'data':<30}{figures['data']}: {sizes}"])
