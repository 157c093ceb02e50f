"""Solutions of notebook 05."""


def degrade(x_t, x0_blurred, eps, mask, alpha, sigma):
    return (1 - mask) * x_t + mask * (alpha * x0_blurred + sigma * eps)


def guide(eps, eps_cond, eps_degraded, w, s):
    return eps + w * (eps_cond - eps) + s * (eps - eps_degraded)


ANSWERS = {"5.1": degrade, "5.2": guide, "5.3": 1.75}
