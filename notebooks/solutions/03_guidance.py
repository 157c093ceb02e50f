"""Solutions of notebook 03."""

ANSWERS = {
    "3.1": lambda eps, gradient, sigma, s: eps - s * sigma * gradient,
    "3.2": lambda eps, eps_cond, sigma: (eps - eps_cond) / sigma,
    "3.3": lambda eps, eps_cond, w: eps + w * (eps_cond - eps),
    "3.4": 3,
}
