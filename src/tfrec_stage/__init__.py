"""Image datasets into sharded TFRecord files: exact, fast, a stage of a pipeline.

from tfrec_stage import create
failed = create(dataset, "train", "data/shards/train", num_shards=10, num_threads=4)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrec_stage.from_python import create

__all__ = ["create"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `create` when it is asked for, so that `python -m tfrec_stage --help` answers at once."""
    if name == "create":
        from tfrec_stage.from_python import create  # noqa: PLC0415

        return create
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
