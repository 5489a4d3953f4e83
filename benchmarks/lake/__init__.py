"""What the lake costs at ten million executions: commits, questions, folds, idle runs and ticks; ``python -m benchmarks.lake``."""
