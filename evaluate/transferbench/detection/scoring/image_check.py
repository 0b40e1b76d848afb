"""Every test image read before a detector is trained for days, so that none of them can fail it afterwards."""

from transferbench import stopping
from transferbench.data import LabeledImages
from transferbench.detection.targets.views import decoded
from transferbench.errors import UserError
from transferbench.runtime import Runtime


def require_readable(images: LabeledImages, runtime: Runtime) -> None:
    """Decode every image and compare its size with the annotations', each process its share.

    Raises:
        UserError: in every process, with how many cannot be used and the first of them.
    """
    mine: list[tuple[int, str]] = []
    for index in range(runtime.rank, len(images), runtime.world_size):
        stopping.check()
        try:
            decoded(images, index)
        except UserError as error:
            mine.append((index, str(error)))
    wrong = sorted(each for part in runtime.gather_objects(mine) for each in part)
    if wrong:
        more = f" So it is with {len(wrong)} of the {len(images)} test images." if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0][1]}{more}")
