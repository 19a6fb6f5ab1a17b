"""A layer that a model uses in two places: one step of Adam each time, and one layer again after a file."""

import json

import numpy as np
import pytest
from helpers import refused

import vqnp
from vqnp.data import DataSpec
from vqnp.nn import Activation, Linear, Sequential, build, describe
from vqnp.optim import Adam
from vqnp.training import Schedule, Trainer

IMAGES = np.random.default_rng(0).random((40, 6))


def tied():
    layer, f = Linear(6, 6, 1, "float64"), Activation("tanh")
    return vqnp.Autoencoder(Sequential(layer, f, layer), Sequential(f, layer), DataSpec((6,)))


def test_adam_steps_once_however_often_a_parameter_is_used():
    """As torch.optim.Adam does: at the first step every entry moves by lr."""
    model = tied()
    W = model.encoder.layers[0].W
    before = W.value.copy()
    optimizer = Adam(model.named_parameters(), 0.01)
    model.backward(model.loss((IMAGES,))[1])
    optimizer.step()
    assert list(optimizer.parameters) == ["encoder.0.W", "encoder.0.b"]
    np.testing.assert_allclose(np.abs(W.value - before), 0.01, rtol=1e-4)


def test_a_description_shares_what_the_model_shares():
    model = tied()
    again = build(json.loads(json.dumps(describe(model))))
    one, _, two = again.encoder.layers
    assert one is two is again.decoder.layers[1] is not model.encoder.layers[0]
    assert again.num_parameters() == model.num_parameters() == 42
    assert describe(again) == describe(model)
    apart = build(describe(Sequential(Linear(2, 2, 1), Linear(2, 2, 1))))
    assert apart.layers[0] is not apart.layers[1]


def test_a_layer_without_arrays_is_described_where_it_is():
    """It may be shared or not, which changes nothing; so neither does the description."""
    f = Activation("relu")
    shared, apart = Sequential(f, f, Linear(2, 2)), Sequential(f, Activation("relu"), Linear(2, 2))
    assert describe(shared) == describe(apart)
    both = Sequential(shared, shared)
    again = build(describe(both))
    assert again.layers[0] is again.layers[1] and describe(again) == describe(both)


@pytest.mark.parametrize("number", [-1, 1, None, "0"])
def test_a_reference_to_no_module_is_refused(number):
    layers = [describe(Linear(2, 2)), {"module": "the same as", "number": number}]
    with refused("number", "an integer", str(number), where="build"):
        build({"module": "Sequential", "layers": layers})


def test_resuming_with_a_shared_layer_gives_the_same_bits(tmp_path):
    path, model = tmp_path / "c.npz", tied()
    history = vqnp.fit(model, IMAGES, epochs=3, batch_size=8, progress=False)
    trainer = Trainer(tied(), IMAGES, Schedule(3, 8))
    trainer.initialize()
    for _ in range(3):
        trainer.train_step()
    trainer.save(path)
    resumed, again = vqnp.resume(path, IMAGES, progress=False)
    assert again == history
    assert resumed.decoder.layers[1] is resumed.encoder.layers[0]
    np.testing.assert_array_equal(resumed.encoder.layers[0].W.value, model.encoder.layers[0].W.value)
