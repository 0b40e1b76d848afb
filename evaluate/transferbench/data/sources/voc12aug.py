"""VOC 2012 segmentation trained on SBD's masks too (Hariharan et al., ICCV 2011): 10,582 training images; VOC's val.

The list trainaug.txt (or train_aug.txt) and the masks in SegmentationClassAug are what mmsegmentation's
tools/dataset_converters/voc_aug.py makes of SBD; the count is its. An image that VOC annotated has VOC's own mask, as
in its configs/_base_/datasets/pascal_voc12_aug.py. It has a name of its own, for more masks are another training set.
"""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.sources.voc12seg import AUGMENTED
from transferbench.data.voc_maps import open_listed

HELP = "VOC 2012 and SBD, by hand: DATA/voc12aug holds VOC2012/ with trainaug.txt and SegmentationClassAug/ in it"


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of its list.

    Raises:
        UserError: for an unknown split, or when a list, an image or a mask is missing.
    """
    return open_listed(AUGMENTED, where, split)
