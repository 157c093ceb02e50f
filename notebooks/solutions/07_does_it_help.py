"""Solutions of notebook 07."""

ANSWERS = {
    "7.1": 10,
    "7.2": lambda p, n: (p * (1 - p) / n) ** 0.5,
    "7.3": lambda before, after: (after - before).std() / len(before) ** 0.5,
    "7.4": 75,
}
