"""Solutions of notebook 08."""


def project(difference, along):
    return difference - (difference * along).sum() / along.square().sum() * along


ANSWERS = {"8.1": 4, "8.2": project, "8.3": lambda move, alpha, sigma: -alpha / sigma * move}
