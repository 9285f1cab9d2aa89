"""Small COCO files, as Python values."""

CATEGORIES = [{"id": 3, "name": "car", "supercategory": "vehicle"}, {"id": 1, "name": "person"}]
PERSON = {"id": 1, "name": "person", "keypoints": ["head", "foot"], "skeleton": [[1, 2]]}
IMAGES = [
    {"id": 20, "file_name": "b.jpg", "width": 20, "height": 10, "license": 1},
    {"id": 3, "file_name": "a.jpg", "width": 20, "height": 10},
]


def annotation(**changes):
    return {
        "id": 7,
        "image_id": 3,
        "category_id": 3,
        "bbox": [5, 2, 10, 4],
        "area": 20,
        "iscrowd": 0,
    } | changes
