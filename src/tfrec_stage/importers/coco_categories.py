"""The categories of COCO files as labels, and annotations as objects of these classes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfrec_stage.dataset_info import Label
from tfrec_stage.importers.coco_file import Annotation, Category, CocoFile, Key, expect_one_name, sort_keys
from tfrec_stage.importers.objects import Box, Instance, Part


@dataclass(frozen=True, slots=True)
class Classes:
    """The categories of all files as labels."""

    labels: Mapping[Key, Label]
    """By category id, in its order."""
    num_parts: int
    """Number of parts of every object."""

    @classmethod
    def from_files(cls, files: Sequence[CocoFile]) -> "Classes":
        """Merge the categories of several files.

        Raises:
            SourceError: one id stands for two names.
        """
        # Numbered in the order of ids, not of the file: two splits of a data set may list their categories differently.
        categories = enumerate(_merge_categories(files))
        labels = {each.id: Label(number, each.name, each.id, each.keypoints) for number, each in categories}
        # Every object gets the same number of parts, so that the lists of parts can be split by object.
        named = max((len(label.keypoints) for label in labels.values()), default=0)
        return cls(labels, named or _max_keypoints(files))

    def list_warnings(self, files: Iterable[CocoFile]) -> Iterator[str]:
        """Yield one sentence for each thing that looks wrong with the categories, except for their names."""
        for file in files:
            for key, count in Counter(each.id for each in file.categories).items():
                if count > 1:
                    yield f"{file.path}: category {self._show(key)} is listed {count} times"
        if self.num_parts and not any(label.keypoints for label in self.labels.values()):
            yield f"no category names its keypoints; every object gets {self.num_parts}, as the one with the most has"

    def find_problem(self, annotation: Annotation) -> str | None:
        """Return why an annotation cannot become an object; None if it can."""
        label = self.labels.get(annotation.category_id)
        if label is None:
            return f"category {annotation.category_id!r} is not in `categories`"
        keypoints = annotation.keypoints
        if not keypoints:
            return None
        expected = 3 * (len(label.keypoints) or self.num_parts)
        if len(keypoints) != expected:
            return (
                f"expected {expected} numbers in `keypoints`, 3 for each {self._describe_keypoint(label)}, "
                f"but got {len(keypoints)}"
            )
        if any(v not in {0, 1, 2} for v in keypoints[2::3]):
            return f"expected 0, 1 or 2 as visibility of keypoints, but got {keypoints[2::3]}"
        return None

    def to_instance(self, annotation: Annotation, width: int, height: int) -> Instance:
        """Normalise an annotation that has a box by the size of its image in pixels."""
        x, y, box_width, box_height = annotation.bbox or (0.0, 0.0, 0.0, 0.0)
        return Instance(
            label=self.labels[annotation.category_id],
            box=Box(x / width, (x + box_width) / width, y / height, (y + box_height) / height),
            area=(annotation.area or 0.0) / (width * height),
            id=str(annotation.id),
            is_crowd=bool(annotation.iscrowd),
            parts=_to_parts(annotation.keypoints, width, height),
        )

    def _show(self, key: Key) -> str:
        return f"{key!r} ({self.labels[key].text!r})"

    def _describe_keypoint(self, label: Label) -> str:
        if label.source_id is not None and label.keypoints:
            return f"name that category {self._show(label.source_id)} lists in `categories` under `keypoints`"
        return f"keypoint of any object, as category {label.text!r} lists no names under `keypoints`"


def _merge_categories(files: Iterable[CocoFile]) -> list[Category]:
    categories: dict[Key, Category] = {}
    for file in files:
        for category in file.categories:
            earlier = categories.get(category.id, category)
            expect_one_name("category", file.path, category.id, earlier.name, category.name)
            # instances files list the category "person" without keypoints, person_keypoints files with them
            categories[category.id] = earlier if earlier.keypoints else category
    return [categories[key] for key in sort_keys(categories)]


def _max_keypoints(files: Iterable[CocoFile]) -> int:
    return max((len(each.keypoints) // 3 for file in files for each in file.annotations), default=0)


def _to_parts(keypoints: tuple[float, ...], width: int, height: int) -> tuple[Part, ...]:
    triples = zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)
    return tuple((x / width, y / height, int(v)) for x, y, v in triples)
