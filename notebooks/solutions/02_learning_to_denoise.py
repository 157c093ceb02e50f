"""Solutions of notebook 02."""

from sagviz.course import plane


def loss(predict, x_0, t, noise):
    x_t = plane.noisy(x_0, t, noise)
    return (predict(x_t, t) - noise).square().mean()


ANSWERS = {"2.1": 1.0, "2.2": loss, "2.3": lambda points: points.mean(dim=0), "2.4": "copies"}
