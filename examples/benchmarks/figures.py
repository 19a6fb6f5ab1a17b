"""What the figure of each benchmark shows: its alternative text, for those who cannot see it."""

SHOWN = {
    "code_statistics": (
        "Milliseconds that vqnp and other libraries need for the statistics of codes at six "
        "sizes, on one thread and on two"
    ),
    "conv_step": (
        "Milliseconds of a training step of a convolutional model in vqnp and in four forms of "
        "PyTorch, on one thread and on two"
    ),
    "convolutions": (
        "GFLOP/s of each convolution of a model, its output and its gradients, in vqnp and in two "
        "layouts of PyTorch"
    ),
    "elementwise": (
        "Microseconds of ReLU's gradient at six sizes in vqnp and in three forms of NumPy, on one "
        "thread and on two"
    ),
    "late_steps": (
        "Milliseconds of a training step at first and after 60 epochs, in vqnp and in PyTorch "
        "with and without flushed subnormal numbers"
    ),
    "nearest": (
        "GFLOP/s of the search for the nearest code at ten sizes, in vqnp and in seven other "
        "libraries or forms, on one thread and on two"
    ),
    "prior_step": (
        "Milliseconds of a training step of a transformer and of sampling 100 grids, in vqnp and "
        "in PyTorch, on one thread and on two"
    ),
    "products": (
        "Share of the peak that matrix products reach against their size, in vqnp, NumPy and "
        "PyTorch: y, dx and dW in float32 and in float64"
    ),
    "quantizers": (
        "Milliseconds of quantizers in inference and in training, in vqnp and in vector-quantize- "
        "pytorch, with the time of one copy beside them"
    ),
    "scaling": (
        "Milliseconds of the search for the nearest code against the number of vectors, "
        "dimensions and codes, in vqnp and in NumPy"
    ),
    "train_step": (
        "Milliseconds of a training step at three batch sizes, in vqnp and in three forms of "
        "PyTorch, beside the time of its matrix products, on one thread and on two"
    ),
    "training": (
        "Seconds of each of 60 epochs in vqnp and in PyTorch with and without flushed subnormal "
        "numbers, on one thread and on two"
    ),
}
