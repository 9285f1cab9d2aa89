"""How tasks are run: on threads of this process or on worker processes, by one runner.

A task writes one shard. It is idempotent, writes its own file and returns a small result, so any engine can run it, and
run it again. runner.py drives a `Pool`; threads.py and processes.py each have one, around executors of the standard
library. Another engine needs another `Pool`, and a name in options.py.
"""

from tfrec_stage.engine.options import EngineName, EngineOptions
from tfrec_stage.engine.runner import OrderedMap, prepare, run_tasks

__all__ = ["EngineName", "EngineOptions", "OrderedMap", "prepare", "run_tasks"]
