"""`python -m sagviz.mini.training`: trains the miniature."""

from sagviz.mini.training.train import main

if __name__ == "__main__":
    main()
