"""`python -m sagviz.mini.training`."""

from sagviz.mini.training.train import main

if __name__ == "__main__":
    main()
