"""Tables as spreadsheets, pandas, R and hand-made lists write them."""

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hmlc_core.data import own

GROCERY = Path(os.environ.get("HMLC_DATA", "/nowhere")) / "GroceryStoreDataset"
NAMES = [f"{k}.png" for k in range(6)]
COARSE, FINE = list("aaabbb"), list("pqpxyx")


@pytest.fixture
def here(tmp_path):
    """Six different pictures, 0.png to 5.png, and the same in in/."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "in").mkdir(exist_ok=True)
        for place in (tmp_path / name, tmp_path / "in" / name):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place)
    return tmp_path


def quietly(path, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return own.read(path, size=8, **how)


def names_of(dataset):
    """Of each sample its class names, None where unknown."""
    rows = []
    for labels in dataset.labels:
        rows.append(
            tuple(names[k] if k >= 0 else None for names, k in zip(dataset.class_names, labels))
        )
    return rows


def read(here, text, encoding="utf-8", **how):
    (here / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return quietly(here / "t.csv", **how)[0]


def plain(delimiter=",", header="file,kind,sort", end="\n"):
    rows = [header.replace(",", delimiter)] if header else []
    return end.join([*rows, *map(delimiter.join, zip(NAMES, COARSE, FINE))]) + end


EXPECTED = list(zip(COARSE, FINE))


def before(text):
    """The table with something before each of its file names."""
    return plain().replace("\n", f"\n{text}").removesuffix(text)


FORMS = {
    "semicolon": plain(";"),
    "tab": plain("\t"),
    "bar": plain("|"),
    "windows": plain(end="\r\n"),
    "old mac": plain(end="\r"),
    "blanks": plain(", "),
    "bom": "\ufeff" + plain(),
    "excel's first line": "sep=;\n" + plain(";"),
    "quotes": "".join(f'"{line}"\n' for line in plain('","').splitlines()),
    "no header": plain(header=""),
    "no header, semicolons": plain(";", header=""),
    "list of words": plain(" ", header=""),
    "empty rows": plain().replace("\n", "\n\n,,\n"),
    "empty columns": plain().replace("\n", ",,\n"),
    "spaces": plain().replace(",a,", ", a ,").replace("kind", " kind "),
    "backslashes": before("in\\"),
    "another machine": before("C:\\Users\\me\\in\\"),
    "absolute": before("/home/other/data/"),
    "capitals": plain().replace("png", "PNG"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_table_in_other_forms(here, form):
    dataset = read(here, FORMS[form])
    assert names_of(dataset) == EXPECTED
    assert dataset.level_names == (
        ["level 1", "level 2"] if "no header" in form or "list" in form else ["kind", "sort"]
    )
    assert len({image.tobytes() for image in dataset.images}) == 6


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
)
def test_encodings(here, encoding):
    text = plain().replace("a\n", "a\n").replace(",a,", ",Löwe,").replace(",b,", ",Bär,")
    (here / "t.csv").write_bytes(text.encode(encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = own.read(here / "t.csv", size=8)[0]
    assert dataset.class_names[0] == ["Bär", "Löwe"]
    assert [str(w.message)[:25] for w in caught] == (
        ["t.csv is not in UTF-8 and "] * 0 if "utf" in encoding else ["t.csv is not in UTF-8 and"]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a workbook",
        b"\xd0\xcf\x11\xe0 an old one",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\2",
        b"a,b\n\0\0\1c,d",
    ],
)
def test_what_is_no_text_is_refused(here, content):
    (here / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match="save it as csv|no text in UTF-8"):
        own.read(here / "t.csv")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"index_label": "id"},
        {"sep": ";"},
        {"header": False},
        {"index": False},
        {"sep": "\t", "encoding": "utf-16"},
    ],
)
def test_what_pandas_writes(here, how):
    frame = pd.DataFrame({"file": NAMES, "kind": [1, 1, 2, 2, None, 2], "sort": list("ppqqqq")})
    frame.to_csv(here / "t.csv", **how)
    dataset = quietly(here / "t.csv")[0]
    assert dataset.class_names[0] == ["1", "2"] and dataset.labels[:, 0].tolist() == [
        0,
        0,
        1,
        1,
        -1,
        1,
    ]


def test_what_r_writes(here):
    rows = [
        f'"{k + 1}" "{name}" "{a}" "{b}"' for k, (name, a, b) in enumerate(zip(NAMES, COARSE, FINE))
    ]
    assert names_of(read(here, '"file" "kind" "sort"\n' + "\n".join(rows))) == EXPECTED


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "NA", "n/a", "N/A", "None", "none", "null", "NULL", "<NA>", "#N/A", ""]
)
def test_words_for_nothing(here, word):
    dataset = read(here, f"file,kind,sort\n0.png,a,p\n1.png,a,{word}\n2.png,{word},p\n3.png,b,q\n")
    assert names_of(dataset) == [("a", "p"), ("a", None), (None, "p"), ("b", "q")]
    assert not word or any(word in note and "unknown" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "fields, classes",
    [
        ("1 1.0 2 2.0", ["1", "2"]),
        ("3.00 3 10 10,0", ["3", "10"]),
        ("-1 0 1 1.0", ["0", "1"]),
        ("1.0 1.5 2.0 1.5", ["1.0", "1.5", "2.0"]),
        ("10 9 2 100", ["2", "9", "10", "100"]),
        ("v1.0 v1 x y", ["v1", "v1.0", "x", "y"]),
    ],
)
def test_numbers_as_names(here, fields, classes):
    rows = [f"{name};{field}" for name, field in zip(NAMES, fields.split())]
    assert read(here, "file;kind\n" + "\n".join(rows)).class_names == [classes]


def test_columns_in_any_order_and_those_that_are_asked_for(here):
    rows = [
        f"{a},{k},{name},{b},{name}.mask.png,note {k},{'train' if k < 4 else 'test'}"
        for k, (name, a, b) in enumerate(zip(NAMES, COARSE, FINE))
    ]
    text = "kind,row,image,sort,mask,remark,split\n" + "\n".join(rows)
    dataset = read(here, text, levels=["Kind", "sort"])
    assert names_of(dataset) == EXPECTED and dataset.parts.tolist() == ["train"] * 4 + ["test"] * 2
    assert read(here, text).level_names == ["kind", "sort"]
    with pytest.raises(ValueError, match=r"no column order: its columns are \['kind', 'row'"):
        own.read(here / "t.csv", levels=["kind", "order"])


@pytest.mark.parametrize(
    "title, parts",
    [
        ("split", "train train val val test test"),
        ("x", "Training TRAIN Validation dev Testing test"),
        ("usage", "train  valid validation test test_set"),
    ],
)
def test_a_column_that_is_a_division(here, title, parts):
    rows = [",".join(row) for row in zip(NAMES, COARSE, parts.split(" "))]
    dataset = read(here, f"file,kind,{title}\n" + "\n".join(rows))
    assert dataset.level_names == ["kind"] and any(
        "already there" in note for note in dataset.notes
    )
    assert dataset.parts.tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2


def test_a_division_in_the_paths(here):
    for part, k in (("Train", 0), ("Train", 1), ("Train", 2), ("Test", 3), ("Test", 4)):
        (here / part).mkdir(exist_ok=True)
        os.rename(here / NAMES[k], here / part / NAMES[k])
    text = "".join(f"{'Test' if k > 2 else 'Train'}/{k}.png,{COARSE[k]}\n" for k in range(5))
    assert read(here, text).parts.tolist() == ["train"] * 3 + ["test"] * 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,kind\n0.png,a,b,c\n", "row 2 with another number of fields, 4"),
        ("kind\na\n", "at least one level"),
        ("file,kind,kind\n0.png,a,b\n", "must differ"),
        ("0.png\n1.png\n", "at least one level"),
        ("file,sort\n0.png,\n1.png,NA\n", "level 'sort' has no label at all"),
    ],
)
def test_tables_that_are_none(here, text, message):
    with pytest.raises(ValueError, match=message):
        read(here, text)


def test_files_in_accents_and_folders_of_another_system(here):
    (here / "fotos" / unicodedata.normalize("NFD", "Bär")).mkdir(parents=True)
    os.rename(here / "0.png", here / "fotos" / unicodedata.normalize("NFD", "Bär") / "IMG.PNG")
    assert len(read(here, "file,kind\nfotos/B\u00e4r/img.png,x\n1.png,y\n2,y\n")) == 3
    for k in range(1, 6):
        os.remove(here / NAMES[k])
        os.remove(here / "in" / NAMES[k])
        os.rename(here / "in" / "0.png", here / "in" / NAMES[k]) if k == 1 else None
    dataset, _, broken = own.read(here / "t.csv", size=8)
    assert len(dataset) == 1 and len(broken) == 2


def beside(titles, *columns):
    """A table with columns beside files and their two levels."""
    rows = [",".join(map(str, row)) for row in zip(NAMES, COARSE, FINE, *columns)]
    return "\n".join([f"file,kind,sort,{titles}", *rows])


@pytest.mark.parametrize(
    "titles, columns, why",
    [
        ("xmin,height", [[1, 1, 2, 3, 3, 4], [9, 9, 8, 9, 8, 8]], "by its title"),
        ("fold", [[0, 1, 2] * 2], "by its title"),
        ("mass", [[0.5, 1, 2, 2, 1, 1e-05]], "numbers with fractions"),
        ("caption", [[f"seen {k}" for k in range(6)]], "different for every file"),
        ("label", [[{"p": 7, "q": 3, "x": 5, "y": 1}[f] for f in FINE]], "number of a name"),
    ],
)
def test_columns_that_are_no_level(here, titles, columns, why):
    text = beside(titles, *columns)
    dataset = read(here, text)
    assert names_of(dataset) == EXPECTED and any(why in note for note in dataset.notes)
    if titles != "label":
        title = titles.split(",")[0]
        assert read(here, text, levels=["kind", title], tree=False).level_names == ["kind", title]


def test_a_column_that_says_one_thing_is_warned_of(here):
    (here / "t.csv").write_text(beside("source", ["web"] * 6))
    with pytest.warns(UserWarning, match="'source' is 'web' for every file: levels="):
        own.read(here / "t.csv", size=8)


@pytest.mark.parametrize("one, none", [("1", "0"), ("1.0", "0.0"), (" 1", " 0")])
def test_columns_that_mark_a_class_each_are_one_level(here, one, none):
    rows = [[name, *(one if f == title else none for title in "pqxy")] for name, f in
            zip(NAMES, FINE)]  # fmt: skip
    dataset = read(here, "file,p,q,x,y\n" + "\n".join(map(",".join, rows)))
    assert names_of(dataset) == [(f,) for f in FINE] and dataset.level_names == ["class"]


def test_flags_beside_a_label_are_no_marks_of_classes(here):
    flags = [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    (here / "t.csv").write_text(beside("cut,dim,hard", *flags))
    with pytest.warns(UserWarning, match="stand under several parents"):
        dataset = own.read(here / "t.csv", size=8)[0]
    assert dataset.level_names == ["kind", "sort", "cut", "dim", "hard"]


@pytest.mark.parametrize("fields", ["p|q p q x y x", "p p;q q x x;p y", '["p"] p q x y x'])
def test_several_labels_in_a_field_are_warned_of(here, fields):
    rows = [f"{name}\t{field}" for name, field in zip(NAMES, fields.split())]
    (here / "t.csv").write_text("file\tkind\n" + "\n".join(rows))
    with pytest.warns(UserWarning, match="fields name several classes"):
        own.read(here / "t.csv", size=8)


@pytest.mark.parametrize(
    "title, fields",
    [("is_valid", "False False True"), ("is_test", "0 0 1"), ("in_train", "yes yes no")],
)
def test_a_column_that_says_whether_it_is_a_part(here, title, fields):
    dataset = read(here, beside(title, fields.split() * 2))
    assert names_of(dataset) == EXPECTED and (dataset.parts == "train").sum() == 4


@pytest.mark.parametrize("titles, columns, parts", [
    ("is_train,is_val,is_test", ("110000", "001100", "000011"), "train validation test"),
    ("is_train,is_val", ("110000", "001100"), "train validation test"),
    ("is_val,is_test", ("001100", "000011"), "train validation test"),
    ("val,test", ("001100", "000011"), "train validation test"),
    ("is_test,for_train", ("000011", "111111"), "train train test"),
    ("is_test", ("000011",), "train train test"),
])  # fmt: skip
@pytest.mark.parametrize("empty", [False, True])
def test_columns_of_yes_and_no_are_one_division(here, titles, columns, parts, empty):
    words = {"1": "TRUE", "0": "" if empty else "False"}
    fields = [list(map(words.get, column)) for column in columns]
    dataset = read(here, beside(titles, *fields))
    assert names_of(dataset) == EXPECTED and dataset.level_names == ["kind", "sort"]
    assert dataset.parts.tolist() == np.repeat(parts.split(), 2).tolist()


@pytest.mark.parametrize("titles", ["split_1,split_2", "split,is_valid", "is_valid,set"])
def test_a_second_division_is_left_out_with_a_warning(here, titles):
    words = [["train", "train", "test"] * 2, ["False", "True", "False"] * 2]
    fields = [words["is_" in title] for title in titles.split(",")]
    (here / "t.csv").write_text(beside(titles, *fields))
    used = next(title for title in titles.split(",") if "is_" not in title)
    with pytest.warns(UserWarning, match=f"another division than '{used}', which is used"):
        dataset = own.read(here / "t.csv", size=8)[0]
    assert names_of(dataset) == EXPECTED
    assert dataset.parts.tolist() == ["train", "train", "test"] * 2
    second = titles.split(",")[1]
    with warnings.catch_warnings(action="ignore"):
        asked = own.read(here / "t.csv", size=8, levels=["kind", second.upper()])[0]
    assert asked.level_names == ["kind", second.upper()]
    held = "validation" if second == "set" else "test"
    assert (asked.parts == held).sum() == 2 and (asked.parts == "train").sum() == 4


@pytest.mark.parametrize("word", ["test", "val"])
def test_empty_fields_beside_a_part_are_train_and_said(here, word):
    dataset = read(here, beside("split", ["", "", word] * 2))
    part = {"test": "test", "val": "validation"}[word]
    assert dataset.parts.tolist() == ["train", "train", part] * 2
    assert said(dataset, "'split': 4 empty fields are taken as train")
    dataset = read(here, beside("split", ["train", "", "train"] * 2))
    assert dataset.parts is None and said(dataset, "'split' divides nothing")
    assert names_of(dataset) == EXPECTED


def test_marks_of_one_class_each_as_pandas_writes_them(here):
    marks = {"cat": "True,False,False", "dog": "False,True,False", "bird": "False,False,True"}
    kinds = ["cat", "dog", "bird"] * 2
    rows = [f"{k}.png,{marks[kind]}" for k, kind in enumerate(kinds)]
    dataset = read(here, "\n".join(["file,cat,dog,bird", *rows]))
    assert names_of(dataset) == [(kind,) for kind in kinds]


@pytest.mark.parametrize("title", ["file", "device", "loss"])
def test_titles_that_no_level_can_have_are_named_before_pictures_are_read(here, title, monkeypatch):
    (here / "t.csv").write_text(f"image,{title},kind\n0.png,a,x\n1.png,a,y\n2.png,b,z\n")
    monkeypatch.setattr(own, "_read", None)
    with pytest.raises(ValueError, match=f"t.csv: no level can be called {title}, .*rename that"):
        own.read(here / "t.csv", size=8)


def test_a_name_that_is_too_long_is_one_broken_file(here):
    rows = [",".join(row) for row in zip(NAMES, COARSE)]
    (here / "t.csv").write_text("\n".join(["file,kind", *rows, f"{'a' * 300}.png,a"]))
    with pytest.warns(UserWarning, match="1 files cannot be read"):
        dataset, _, broken = own.read(here / "t.csv", size=8)
    assert len(dataset) == 6 and "no such file" in next(iter(broken.values()))


def test_a_word_that_is_no_part_is_trained_on_and_said(here):
    (here / "t.csv").write_text(beside("ml_use", ["TRAIN", "TEST", "UNASSIGNED"] * 2))
    with pytest.warns(UserWarning, match="'ml_use': UNASSIGNED is no part .*taken as train"):
        assert (own.read(here / "t.csv", size=8)[0].parts == "train").sum() == 4


@pytest.mark.parametrize(
    "place",
    ["https://x.org/in/{}?w=9#a", "s3://b/in/{}", "file:///C:/my%20data/in/{}",
     "/data/local-files/?d=in/{}", "\\\\nas\\me\\IN\\{}"],
)  # fmt: skip
def test_addresses_name_files(here, place):
    rows = [f"{place.format(name)},{f}" for name, f in zip(NAMES, FINE)]
    assert names_of(read(here, "url,sort\n" + "\n".join(rows))) == [(f,) for f in FINE]


def test_numbers_whose_zeros_a_spreadsheet_took_name_files(here):
    for k, name in enumerate(NAMES):
        os.rename(here / name, here / f"00{k}.png")
    text = "id,sort\n" + "".join(f"{k},{f}\n" for k, f in enumerate(FINE))
    assert names_of(read(here, text)) == [(f,) for f in FINE]


@pytest.mark.parametrize("above", ["My data,,\n", "# made by x\n# in 2024\n", "Title\n,,\n"])
def test_what_stands_above_a_table_is_left_out_and_said(here, above):
    dataset = read(here, above + plain())
    assert names_of(dataset) == EXPECTED and dataset.level_names == ["kind", "sort"]
    assert any("left out above the table" in note for note in dataset.notes)


@pytest.mark.parametrize("word", ["#NV", "#N/D", "#WERT!", "?", "--", "(blank)", "unlabelled"])
def test_errors_of_spreadsheets_and_marks_are_no_class(here, word):
    dataset = read(here, plain().replace(",x\n", f",{word}\n"))
    assert dataset.class_names[1] == ["p", "q", "y"]
    assert any("2 of 6 files have no label" in note for note in dataset.notes)


@pytest.mark.parametrize("head, rows, lost", [
    ("file,sort", ["p", "-1", "q", "p", "q", "-1"], 2),
    ("file,sort", ["-1", "-1", "0", "1", "2", "-1"], 3),
    ("file,sort", ["-1", "-2", "0", "1", "-2", "-1"], 0),  # numbers below zero are names
])  # fmt: skip
def test_minus_one_is_unknown_beside_names_and_numbers_from_zero_on(here, head, rows, lost):
    text = "\n".join([head, *(f"{n}.png,{row}" for n, row in enumerate(rows))])
    dataset = read(here, text)
    assert (dataset.labels == -1).sum() == lost
    assert ("-1" in dataset.class_names[0]) == (lost == 0)


@pytest.mark.parametrize("mark", "/|")
def test_an_only_column_of_paths_is_warned_of(here, mark):
    rows = [f"{n}.png,a{n // 3}{mark}b{n % 3}" for n in range(6)]
    with pytest.raises(UserWarning, match="every field has 2 parts"):
        read(here, "\n".join(["file,label", *rows]))
    read(here, "\n".join(["file,label", *rows[:-1], "5.png,plain"]))  # not of all: no warning


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_class_called_train_and_results_called_test_are_no_division(here):
    marks = ["1,0,0", "0,1,0", "0,0,1"] * 2
    rows = [f"{k}.png,{mark}" for k, mark in enumerate(marks)]
    dataset = read(here, "\n".join(["file,bus,car,train", *rows]))
    assert dataset.class_names == [["bus", "car", "train"]] and dataset.parts is None
    rows = [f"{k}.png,{'ab'[k > 2]},{k % 2}" for k in range(6)]
    dataset = read(here, "\n".join(["file,kind,test", *rows]), tree=False)
    assert dataset.level_names == ["kind", "test"] and dataset.parts is None


def test_a_column_that_is_asked_for_is_a_level_whatever_it_is_called(here):
    rows = [f"{k}.png,{'ab'[k > 2]},{('train', 'test')[k % 2]}" for k in range(6)]
    text = "\n".join(["file,kind,split", *rows])
    dataset = read(here, text, levels=["kind", "split"], tree=False)
    assert dataset.level_names == ["kind", "split"] and dataset.parts is None
    assert read(here, text).level_names == ["kind"]


def test_languages_are_no_parts(here):
    rows = [f"{k}.png,{('te', 'tr', 'hi')[k // 2]}" for k in range(6)]
    assert read(here, "\n".join(["file,language", *rows])).class_names == [["hi", "te", "tr"]]


@pytest.mark.parametrize("other", ["masks", ".thumbnails", "train_masks"])
def test_masks_beside_the_pictures_of_a_table_are_not_taken(tmp_path, other):
    folder = "train" if other.startswith("train") else "images"
    for k in range(6):
        picture(tmp_path / folder / f"{k}.png", k)
        Image.new("RGB", (8, 8)).save(make(tmp_path / other) / f"{k}.png")
    rows = [f"{k}.png,{'ab'[k > 2]}" for k in range(6)]
    (tmp_path / "train.csv").write_text("\n".join(["file,kind", *rows]))
    assert quietly(tmp_path / "train.csv")[0].images.std() > 10


def make(folder):
    folder.mkdir(exist_ok=True)
    return folder


def test_a_part_that_lacks_a_file_is_still_that_of_its_table(tmp_path):
    for k in range(10):
        picture(tmp_path / "test" / f"{k}.png", k)
        if k:
            picture(tmp_path / "train" / f"{k}.png", 100 + k)
    rows = [f"{k}.png,{'ab'[k % 2]}" for k in range(10)]
    (tmp_path / "train.csv").write_text("\n".join(["file,kind", *rows]))
    with pytest.warns(UserWarning, match="1 files cannot be read"):
        assert len(own.read(tmp_path / "train.csv", size=8)[0]) == 9


@pytest.mark.parametrize("fields", [("+1", "-1"), ("+1", "-1", "0")])
def test_minus_one_beside_plus_one_is_a_class(here, fields):
    rows = [f"{k}.png,{fields[k % len(fields)]}" for k in range(6)]
    assert set(read(here, "\n".join(["file,sign", *rows])).class_names[0]) == set(fields)


def test_digits_are_not_taken_for_the_names_of_files(here):
    rows = [f"{k},{k % 3}" for k in range(6)]
    dataset = read(here, "\n".join(["id,digit", *rows]))
    assert dataset.level_names == ["digit"] and len(dataset) == 6


def test_a_header_that_is_also_the_name_of_a_picture_is_a_header(here):
    picture(here / "case" / "kind.png", 7)
    dataset = read(here, plain())
    assert dataset.level_names == ["kind", "sort"] and len(dataset) == 6


def test_files_that_come_later_are_found_without_a_restart(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "t.csv").write_text(
        "kind,name\n" + "".join(f"{'ab'[k % 2]},{k}\n" for k in range(6))
    )
    with pytest.raises(ValueError, match="can be read"):
        quietly(tmp_path / "t.csv")
    for k in range(6):
        picture(tmp_path / "images" / f"{k}.png", k)
    assert len(quietly(tmp_path / "t.csv")[0]) == 6


def test_names_by_line_are_used_where_some_numbers_lack(here):
    (here / "classes.txt").write_text("zero\none\ntwo\nthree\nfour\n")
    rows = [f"{k}.png,{(1, 2, 4)[k // 2]}" for k in range(6)]
    assert read(here, "\n".join(["file,kind", *rows])).class_names == [["four", "one", "two"]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_does_not_stop(here):
    (here / "lost+found").mkdir(mode=0)
    assert read(here, plain()).level_names == ["kind", "sort"]


@pytest.mark.parametrize("tested", [6, 10])
def test_a_table_of_a_part_takes_the_files_of_that_part(tmp_path, tested):
    for part, count in (("train", 10), ("test", tested)):
        for k in range(count):
            picture(tmp_path / part / f"{k}.png", [k, count, part == "test"])
    rows = [f"{k}.png,{'ab'[k % 2]}" for k in range(10)]
    (tmp_path / "train_labels.csv").write_text("\n".join(["file,kind", *rows]))
    dataset, _, broken = quietly(tmp_path / "train_labels.csv")
    assert not broken and said(dataset, f"looked for in {tmp_path / 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(["file,kind", *rows]))
    if tested == 10:
        with pytest.raises(ValueError, match="in 2 folders, test, train: write the folder before"):
            quietly(tmp_path / "labels.csv")
    else:
        assert said(quietly(tmp_path / "labels.csv")[0], f"looked for in {tmp_path / 'train'}")


def said(dataset, *words):
    return any(all(word in note for word in words) for note in dataset.notes)


@pytest.mark.parametrize("title, marks", [
    ("Usage", ("Training", "PublicTest", "PrivateTest")), ("partition", ("tr", "va", "te")),
    ("train", ("True", "False", "False")),
])  # fmt: skip
def test_columns_that_say_the_part_in_other_words_are_no_level(here, title, marks):
    rows = [f"{k}.png,{COARSE[k]},{marks[k // 2]}" for k in range(6)]
    dataset = read(here, "\n".join([f"file,kind,{title}", *rows]))
    assert dataset.level_names == ["kind"]
    train, first, last = dataset.parts[::2]
    assert train == "train" and last == "test" and first in ("validation", "test")


def test_a_split_that_is_not_understood_is_left_out_with_a_warning(here):
    rows = [f"{k}.png,{COARSE[k]},{k // 2}" for k in range(6)]
    with pytest.warns(UserWarning, match="'split' is no division that is understood .0, 1, 2."):
        (here / "t.csv").write_text("\n".join(["file,kind,split", *rows]))
        dataset = own.read(here / "t.csv", size=8)[0]
    assert dataset.level_names == ["kind"] and dataset.parts is None


def test_of_two_columns_of_files_that_of_pictures_is_read(here):
    for name in NAMES:
        Image.new("RGB", (8, 8), "black").save(here / f"mask{name}")
    rows = [f"mask{name},{name},{kind}" for name, kind in zip(NAMES, COARSE)]
    dataset = read(here, "\n".join(["annotation,image,kind", *rows]))
    assert dataset.images.std() > 10
    with pytest.raises(UserWarning, match="'one' is read as the pictures"):
        read(here, "\n".join(["one,two,kind", *rows]))


def test_fine_to_coarse_is_turned_also_where_the_coarsest_is_constant(here):
    rows = [f"{k}.png,{'pqr'[k // 2]},{'ab'[k > 3]},all" for k in range(6)]
    (here / "t.csv").write_text("\n".join(["file,fine,coarse,top", *rows]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = own.read(here / "t.csv", size=8)[0]
    assert dataset.level_names == ["top", "coarse", "fine"]
    assert dataset.class_counts == [1, 2, 3]


def test_names_by_line_are_not_used_for_numbers_from_one_on(here):
    (here / "names.txt").write_text("cat\ndog\nfish\nbird\n")
    text = "\n".join(["file,kind", *(f"{k}.png,{1 + k // 2}" for k in range(6))])
    with pytest.raises(UserWarning, match="from 0, but labels are from 1"):
        read(here, text)
    (here / "names.txt").write_text("1 cat\n2 dog\n3 fish\n4 bird\n")
    assert read(here, text).class_names == [["cat", "dog", "fish"]]


@pytest.mark.parametrize("header, row", [
    ("", "{k},{kind}"), ("lesion,image_name,kind", "L{k},{k},{kind}"),
    ("name,kind", "{k},{kind}"),
])  # fmt: skip
def test_names_without_endings_are_found_wherever_they_stand(here, header, row):
    rows = [row.format(k=k, kind=kind) for k, kind in enumerate(COARSE)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (here / "t.csv").write_text("\n".join(filter(None, [header, *rows])))
        dataset, _, broken = own.read(here / "t.csv", size=8)
    assert len(dataset) == 6 and not broken
    assert set(dataset.class_names[0]) == set(COARSE) or "kind" in dataset.level_names


def test_signs_are_two_classes(here):
    rows = [f"{k}.png,{(-1) ** k}" for k in range(6)]
    assert read(here, "\n".join(["file,smiling", *rows])).class_names == [["-1", "1"]]


def test_merged_cells_and_pictures_that_are_not_named_are_said(here):
    text = "file,kind,sort\n0.png,a,p\n1.png,,q\n2.png,,p\n3.png,,q\n"
    (here / "t.csv").write_text(text)
    with pytest.warns(UserWarning, match="'kind': 3 of 4 files have no label .of merged cells"):
        dataset = own.read(here / "t.csv", size=8, tree=False)[0]
    assert any("2 pictures beside those" in n and "4.png, 5.png" in n for n in dataset.notes)


# ---------------------------------------------------------------- hierarchy


def as_folder(root, rows):
    for k, row in enumerate(rows):
        place = Path(root, *filter(None, row))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            place / f"{k}.png"
        )


@pytest.mark.parametrize(
    "rows",
    [
        [("pets", "other"), ("wild", "other"), ("wild", "fox")] * 2,
        [("a", "x", "1"), ("a", "y", "1"), ("b", "x", "1")] * 2,
        [("fruit", "apple", "gala"), ("fruit", "kiwi", ""), ("milk", "", "")] * 2,
    ],
)
def test_a_table_means_what_a_folder_means(here, rows):
    as_folder(here / "tree", rows)
    files = sorted((here / "tree").rglob("*.png"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = own.read(here / "tree", size=8)[0]
        text = "".join(
            f"{path.relative_to(here)},{','.join(rows[int(path.stem)])}\n" for path in files
        )
        (here / "t.csv").write_text("file," + ",".join("abc"[: len(rows[0])]) + "\n" + text)
        table = own.read(here / "t.csv", size=8)[0]
        both = [own.read(here / place, size=8, ends="unknown")[0] for place in ("t.csv", "tree")]
    for one, other in zip(*(dataset.labels.T for dataset in both)):
        assert ((one < 0) == (other < 0)).all() and len(set(zip(one, other))) == len(
            set(one)
        ) == len(set(other))
    assert (folder.images == table.images).all() and folder.class_counts == table.class_counts
    for one, other in zip(folder.labels.T, table.labels.T):
        assert len(set(zip(one, other))) == len(set(one)) == len(set(other))
    assert all(len(set(names)) == len(names) for names in table.class_names)


def test_one_name_under_several_parents_is_said(here):
    text = "file,make,colour\n0.png,ford,red\n1.png,audi,red\n2.png,audi,blue\n3.png,ford,red\n"
    (here / "t.csv").write_text(text)
    with pytest.warns(
        UserWarning,
        match="1 names stand under several parents, e.g. audi/red, ford/red.*tree=False",
    ):
        dataset = own.read(here / "t.csv", size=8)[0]
    assert dataset.class_names[1] == ["audi/red", "blue", "ford/red"]
    factors = quietly(here / "t.csv", tree=False)[0]
    assert factors.class_names == [["audi", "ford"], ["blue", "red"]]
    assert any(
        "no tree: 1 classes of level 'colour' have several parents (red)" in note
        for note in factors.notes
    )
    assert own.check(factors)["several parents"].tolist() == [0, 1] and own.check(dataset)[
        "several parents"
    ].tolist() == [0, 0]


def test_empty_fields_end_a_branch_or_are_unknown(here):
    ends = "file,a,b\n0.png,x,p\n1.png,x,\n2.png,y,\n3.png,y,\n"
    assert names_of(read(here, ends)) == [("x", "p"), ("x", None), ("y", "y"), ("y", "y")]
    assert names_of(read(here, ends, ends="unknown"))[2:] == [("y", None), ("y", None)]
    gaps = ends + "4.png,,p\n5.png,,q\n"
    assert names_of(read(here, gaps)) == [
        ("x", "p"),
        ("x", None),
        ("y", None),
        ("y", None),
        ("x", "p"),
        (None, "q"),
    ][:4] + [(None, "p"), (None, "q")]


def test_columns_from_fine_to_coarse(here):
    rows = [
        f"{name},{fine},{coarse}" for name, coarse, fine in zip(NAMES * 2, COARSE * 2, FINE * 2)
    ]
    assert names_of(read(here, "\n".join(rows))) == EXPECTED * 2
    (here / "t.csv").write_text("file,sort,kind\n" + "\n".join(rows))
    with pytest.warns(UserWarning, match=r"levels are \['kind', 'sort'\], coarse to fine"):
        assert names_of(own.read(here / "t.csv", size=8)[0]) == EXPECTED * 2
    with pytest.warns(UserWarning, match="several parents"):
        assert own.read(here / "t.csv", size=8, levels=["sort", "kind"])[0].level_names == [
            "sort",
            "kind",
        ]


# ---------------------------------------------------------------- a second file

LIST = "0.png, 0, 0\n1.png, 1, 0\n2.png, 0, 0\n3.png, 2, 1\n4.png, 2, 1\n5.png, 1, 0\n"
NAMED = [("a", "p"), ("a", "q"), ("a", "p"), ("b", "r"), ("b", "r"), ("a", "q")]


@pytest.mark.parametrize(
    "name, text",
    [
        (
            "classes.csv",
            "Fine (str),Fine ID (int),Group (str),Group ID (int),Picture\n"
            "p,0,a,0,/x/p.jpg\nq,1,a,0,/x/q.jpg\nr,2,b,1,/x/r.jpg\ns,3,b,1,/x/s.jpg\n",
        ),
        ("labels.tsv", "0\tp\t0\ta\n1\tq\t0\ta\n2\tr\t1\tb\n"),
        ("Names.txt", "group;gid;id;name\na;0;0;p\na;0;1;q\nb;1;2;r\n"),
    ],
)
def test_names_in_a_second_file(here, name, text):
    (here / name).write_text(text)
    (here / "list.txt").write_text(LIST)
    dataset = quietly(here / "list.txt")[0]
    assert names_of(dataset) == NAMED and any(name in note for note in dataset.notes)


@pytest.mark.parametrize(
    "text",
    [
        "cat\nbig dog\nfish\n",
        "0 cat\n1 big dog\n2 fish\n",
        "id,name\n2,fish\n1,big dog\n0,cat\n",
        "0: cat\n1: big dog\n2: fish",
    ],
)
def test_names_of_one_level(here, text):
    (here / "names.txt").write_text(text)
    (here / "list.txt").write_text("0.png 1\n1.png 2\n2.png 0\n3.png 1\n")
    assert names_of(quietly(here / "list.txt")[0]) == [
        ("big dog",),
        ("fish",),
        ("cat",),
        ("big dog",),
    ]
    os.rename(here / "names.txt", here / "other.txt")
    assert quietly(here / "list.txt")[0].class_names == [["0", "1", "2"]]
    assert quietly(here / "list.txt", names=here / "other.txt")[0].class_names == [
        ["big dog", "cat", "fish"]
    ]
    (here / "other.txt").write_text("cat\n")
    with pytest.raises(ValueError, match="other.txt does not name the numbers of .*list.txt"):
        own.read(here / "list.txt", names=here / "other.txt")


def test_numbers_that_fit_several_columns_are_warned_of(here):
    (here / "classes.csv").write_text("f,fid,g,gid\np,0,a,0\nq,1,a,0\nr,2,b,1\n")
    (here / "list.txt").write_text("0.png 1\n1.png 0\n")
    with pytest.warns(UserWarning, match="fit several columns of classes.csv.*taken from g"):
        assert names_of(own.read(here / "list.txt", size=8)[0]) == [("b",), ("a",)]


def test_columns_keep_their_order_where_nothing_speaks_for_another(here):
    text = "file,sort,kind\n0.png,p,a\n1.png,q,a\n2.png,r,b\n"
    with pytest.warns(UserWarning, match="1 names stand under several parents"):
        read_with_warnings = own.read(_written(here, text), size=8)[0]
    assert read_with_warnings.level_names == ["sort", "kind"]


def _written(here, text):
    (here / "t.csv").write_text(text)
    return here / "t.csv"


PARENTS = {
    "parent first": "parent,class\npet,cat\npet,dog\nanimal,pet\nplant,oak\n",
    "index": ",child,parent,remark\n0,cat,pet,x\n1,dog,pet,\n2,pet,animal,\n3,oak,plant,y\n",
    "superclasses": "subclass\tsuperclass\ncat\tpet\ndog\tpet\npet\tanimal\noak\tplant\n",
    "two columns": "class,parent\ncat,pet\ndog,pet\npet,animal\noak,plant\n",
    "three columns": "Class;Parent;Grandparent\ncat;pet;animal\nDog;pet;animal\noak;plant;\n",
    "Excel": "\ufeffclass;parent\r\ncat;pet\r\ndog;pet\r\npet;animal\r\noak;plant\r\nplant;\r\n",
}


@pytest.mark.parametrize("form", PARENTS)
@pytest.mark.parametrize("place", ["inside", "beside", "given"])
def test_a_table_of_parents_makes_the_hierarchy(tmp_path, form, place):
    as_folder(tmp_path / "flat", [("cat",), ("dog",), ("oak",)] * 3)
    folder = {"inside": tmp_path / "flat", "beside": tmp_path, "given": tmp_path / "else"}[place]
    folder.mkdir(exist_ok=True)
    (folder / "tree.csv").write_text(PARENTS[form])
    given = {"parents": folder / "tree.csv"} if place == "given" else {}
    dataset = quietly(tmp_path / "flat", **given)[0]
    fine = [name.casefold() for name in dataset.class_names[2]]
    assert dataset.class_names[:2] == [["animal", "plant"], ["oak", "pet"]] and fine == [
        "cat",
        "dog",
        "oak",
    ]
    unknown = quietly(tmp_path / "flat", ends="unknown", **given)[0]
    assert unknown.class_counts == [2, 2, 2] and (unknown.labels[:, 2] < 0).sum() == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("class,parent\ncat,pet\ndog,pet\n", "no row for 1 classes of .*oak"),
        ("class,parent\ncat,a\ndog,b\ncat,b\noak,a\n", "1 classes have several parents .cat."),
        ("class,parent\ncat,dog\ndog,cat\noak,x\n", "above itself"),
    ],
)
def test_tables_of_parents_that_are_no_tree(tmp_path, text, message):
    as_folder(tmp_path, [("cat",), ("dog",), ("oak",)] * 3)
    (tmp_path / "tree.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        own.read(tmp_path)


def test_a_class_named_as_its_parent_and_a_table_that_lacks_one(tmp_path):
    as_folder(tmp_path / "flat", [("cat",), ("lynx",), ("oak",)] * 3)
    (tmp_path / "tree.csv").write_text("class,parent\ncat,cat\nlynx,cat\noak,tree\n")
    dataset = quietly(tmp_path / "flat")[0]
    assert dataset.class_names == [["cat", "tree"], ["cat", "lynx", "oak"]]
    assert (dataset.labels >= 0).all()
    (tmp_path / "tree.csv").write_text("class,parent\ncat,cat\nlynx,cat\n")
    with pytest.warns(UserWarning, match="tree.csv is not used: it lacks oak"):
        assert len(own.read(tmp_path / "flat", size=8)[0].level_names) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_a_class_has_the_parents_of_its_own_spelling(tmp_path, order):
    for k, name in enumerate(["Cat", "cat", "dog", "1.0"]):
        for number in (2 * k, 2 * k + 1):
            picture(tmp_path / name / f"{number}.png", number)
    rows = ["Cat,pet", "cat,wild", "dog,animal", "1.0,number"][::order]
    (tmp_path / "parents.csv").write_text("\n".join(["class,parent", *rows]))
    with warnings.catch_warnings(action="ignore"):
        dataset = own.read(tmp_path, size=8)[0]
    found = {(fine.rsplit("/", 1)[-1], coarse) for coarse, fine in names_of(dataset)}
    assert found == {("Cat", "pet"), ("cat", "wild"), ("dog", "animal"), ("1.0", "number")}
    (tmp_path / "parents.csv").write_text("class,parent\nCAT,pet\ncAt,wild\ndog,a\n1,b\n")
    with pytest.raises(ValueError, match="CAT, cAt, which look like class 'Cat' .*other|different"):
        own.read(tmp_path, size=8)


def test_a_listing_that_looks_like_parents_is_left_out_where_asked(tmp_path):
    for k in range(4):
        picture(tmp_path / "ab"[k // 2] / f"{k}.png", k)
    (tmp_path / "listing.csv").write_text("Name,Parent folder\n0.png,a\n1.png,a\n")
    with pytest.raises(ValueError, match="listing.csv has no row for 1 classes"):
        own.read(tmp_path, size=8)
    assert quietly(tmp_path, ignore="listing.csv")[0].level_names == ["level 1"]


def test_a_csv_with_one_level_takes_a_table_of_parents(here):
    (here / "tree.csv").write_text("class,parent\np,a\nq,a\nx,b\ny,b\n")
    text = plain(header="").replace(",a,", ",").replace(",b,", ",")
    assert names_of(read(here, text)) == EXPECTED


@pytest.mark.skipif(not GROCERY.exists(), reason="HMLC_DATA has no GroceryStoreDataset")
@pytest.mark.parametrize(
    "form, counts",
    [
        ("", [3, 44, 82]),
        ("dataset", [3, 44, 82]),
        ("dataset/train", [3, 43, 81]),
        ("dataset/train/Fruit", [19, 28]),
        ("dataset/train.txt", [43, 81]),
        ("csv", [43, 81]),
    ],
)
def test_grocery_in_all_the_forms_in_which_it_lies_there(tmp_path, form, counts):
    path = GROCERY / form
    if form == "csv":
        lines = (GROCERY / "dataset" / "train.txt").read_text().splitlines()
        path = tmp_path / "t.csv"
        path.write_text(
            "path,kind,item\n" + "\n".join(f"{GROCERY / 'dataset'}/{line}" for line in lines)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset, groups, broken = own.read(path, size=16)
        train, test = own.divide(dataset, groups)
    assert dataset.class_counts == counts and not broken
    assert not {image.tobytes() for image in train.images} & {
        image.tobytes() for image in test.images
    }
    assert len(test) == {"": 2485, "dataset": 2485}.get(form, len(test)) and len(train) + len(
        test
    ) == len(dataset)
