"""What a lake costs at ten million executions: commits, questions, folds, idle runs, ticks; ``python -m benchmarks.lake``."""
