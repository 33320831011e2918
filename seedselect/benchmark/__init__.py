"""Active-learning benchmarks: tasks, methods, learning curves, paired statistics, figures."""

from seedselect.benchmark.config import BenchmarkConfig
from seedselect.benchmark.runner import run_benchmark
from seedselect.benchmark.task import Split, Task

__all__ = ["BenchmarkConfig", "Split", "Task", "run_benchmark"]
