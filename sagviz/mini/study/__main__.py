"""`python -m sagviz.mini.study`: makes the study's pictures and its table."""

from sagviz.mini.study.study import main

if __name__ == "__main__":
    main()
