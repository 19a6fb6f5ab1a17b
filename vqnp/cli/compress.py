"""vqnp compress: images to a file of codes, entropy-coded under the prior."""

import argparse
from typing import Any

from vqnp.cli.options import DATA, FORCE, RUN, SOURCE, SPLIT, batch_bar, by_option, flag, new_file, option

HELP = "compress images into a file of as many bits as the prior says"
DESCRIPTION = (
    "Encode images with the model of RUN and write the codes with a range coder under the prior beside it; "
    "vqnp decompress reads them. A prior with classes is used without the class, since labels are not in the "
    "file. Print the bits that an image takes beside the prior's -log2 p, and beside PNG, WebP and JPEG. "
    "Needs the extra compress (pip install 'vqnp[compress]')."
)
OPTIONS = (
    RUN, DATA, SPLIT,
    option("--out", metavar="FILE", default="images.vqnp", help="the file to write (default: images.vqnp)"),
    flag("--quiet", "show no progress bars"),
    FORCE,
)  # fmt: skip

COMPARED_IMAGES = 2000
"""The first of the images, of which the errors and the other formats' sizes are measured."""


def run(args: argparse.Namespace) -> None:
    """Compress, and print the table."""
    import numpy as np

    from vqnp.cli.prior_files import open_codes_run, read_prior
    from vqnp.data import open_images
    from vqnp.data.batches import batches
    from vqnp.export.compressed import write_compressed
    from vqnp.export.picture_formats import picture_sizes
    from vqnp.priors.coding import codebook_sizes

    out = new_file(args.out, (".vqnp",), args.force)
    opened = open_codes_run(args.model)
    model: Any = opened.model
    prior = read_prior(opened.run, model).prior
    data = args.data if "data" in args else opened.trained_on()
    with by_option(SOURCE):
        images = open_images(data, args.split)
    model.data.check_shape(images.shape, str(images.path))
    parts = [model.encode(batch) for batch in batches(images)]
    several = isinstance(parts[0], tuple)  # an array for each level; a sound's prior may have the first ones
    levels = [np.concatenate(level) for level in (zip(*parts, strict=True) if several else (parts,))]
    codes: Any = tuple(levels[: len(prior.latent_shape)]) if several else levels[0]
    first = next(images.batches(COMPARED_IMAGES))
    sizes = write_compressed(out, codes, model, prior, None if args.quiet else batch_bar)
    x = model.data.to_array(first, np.float64, str(images.path))
    of_first = tuple(k[: len(first)] for k in codes) if several else codes[: len(first)]
    r = (model.decode(of_first) - x) / (model.data.high - model.data.low)
    error = f"{np.square(r).mean():10.5f}"
    classes = getattr(prior, "num_classes", 0)
    under = "without the class" if classes else "under the prior"
    rows = [
        ("this file", sizes.bits_per_image, error),
        (f"-log2 p {under}", sizes.nll_bits / sizes.images, error),
        ("codes without a prior", float(np.log2(codebook_sizes(prior)).sum()), error),
    ]
    if model.kind != "sound" and _are_pictures(first):
        for name, size in picture_sizes(first).items():
            rows.append((f"{name}, a file each", size.bits, f"{size.mse:10.5f}"))
            rows.append((f"{name}, one sheet", size.sheet_bits, f"{size.sheet_mse:10.5f}"))
    print(f"{'':<30}{'bits an image':>14}{'MSE':>10}")
    for name, bits, mse in rows:
        print(f"{name:<30}{bits:14.2f}{mse}")
    few = f", errors and other formats of the first {len(first)}" if len(first) < len(images) else ""
    if classes:
        print(f"The prior has {classes} classes, which are not used: labels are not in the file.")
    print(f"{len(images)} images of {data} ({args.split}) in {out}: {sizes.file_bytes} bytes{few}")


def _are_pictures(images: Any) -> bool:
    return images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))
