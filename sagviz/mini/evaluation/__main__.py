"""`python -m sagviz.mini.evaluation`."""

from sagviz.mini.evaluation.evaluate import main

if __name__ == "__main__":
    main()
