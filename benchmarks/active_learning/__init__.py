"""Active-learning benchmarks: tasks, methods, learning curves, paired statistics, figures."""

from benchmarks.active_learning.config import BenchmarkConfig
from benchmarks.active_learning.runner import run_benchmark
from benchmarks.active_learning.task import Split, Task

__all__ = ["BenchmarkConfig", "Split", "Task", "run_benchmark"]
