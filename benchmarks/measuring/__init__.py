"""What the benchmarks share: clean measurements of processes, data sets, scores and tables."""
