"""Running a model: prepared, step by step, in lockstep; what if, branch, compare, estimate."""
