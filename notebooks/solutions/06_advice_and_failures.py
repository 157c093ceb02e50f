"""Solutions of notebook 06."""


def settled(counts, values):
    near = [abs(value - values[-1]) <= 0.1 * values[-1] for value in values]
    return next(count for i, count in enumerate(counts) if all(near[i:]))


ANSWERS = {
    "6.1": 600,
    "6.2": lambda with_sag, without: (with_sag / without).mean(),
    "6.3": settled,
    "6.4": lambda tokens, length: tokens[length - 2 :],
}
