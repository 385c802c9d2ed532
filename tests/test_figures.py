"""What figures compute before they draw."""
import numpy as np

from hmlc_core import figures
from hmlc_core.datasets import HierarchicalDataset


def test_a_method_has_one_style_in_all_learning_curves():
    """Also where a method before it has no loss at a level, as SupCon on the finest alone."""
    histories = {"supcon": [{"epoch": 1, "fine": 1.0}], "sign": [{"epoch": 1, "coarse": 1.0, "fine": 2.0}]}
    coarse, fine = ({line.get_label(): line.get_color() for line in axis.lines}
                    for axis in figures.learning_curves(histories, ["coarse", "fine"]).axes)
    assert len(coarse) == 1 and len(set(fine.values())) == 2
    assert coarse["control: sign"] == fine["control: sign"]


def test_long_class_names_stand_in_lines_of_their_own():
    images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.array([[0, 0], [0, -1]])
    short = HierarchicalDataset(images, labels, ["a", "b"], [["4"], ["2"]])
    long = HierarchicalDataset(images, labels, ["a", "b"], [["mammals"], ["mammals/a very long name of a class"]])
    assert [axis.get_title() for axis in figures.image_grid(short, range(2)).axes[:2]] == ["4 / 2", "4 / ?"]
    assert [axis.get_title() for axis in figures.image_grid(long, range(2)).axes[:2]] == ["mammals\na very long na…", "mammals\n?"]
