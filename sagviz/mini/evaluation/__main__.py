"""`python -m sagviz.mini.evaluation`: measures the miniature."""

from sagviz.mini.evaluation.evaluate import main

if __name__ == "__main__":
    main()
