"""Turn image datasets into sharded TFRecord files, as a stage of a pipeline.

from tfrec_stage import create, load_dataset
failed = create(dataset, "train", "data/shards/train", num_shards=10, num_threads=4)
batches = load_dataset("data/shards/train", image_size=(224, 224), shuffle=True, batch=32)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tfrec_stage.api import create
    from tfrec_stage.reading import feature_spec, load_dataset, read_records

__all__ = ["create", "feature_spec", "load_dataset", "read_records"]
__version__ = "0.1.0"

_MODULES: Final = {
    "create": "tfrec_stage.api",
    "feature_spec": "tfrec_stage.reading",
    "load_dataset": "tfrec_stage.reading",
    "read_records": "tfrec_stage.reading",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first used, so that `python -m tfrec_stage --help` starts fast."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
