"""--publish: what comes into a committed notebook, and what never does."""

import base64
import io

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import run
import write_examples
from hmlc_core import files
from study import options, published, written

EXAMPLES = ["explorer.ipynb", "your_own_data.ipynb"]
BAR = "\r 10 %\r 100 %\ndone\n"


def picture(side=64, colours=256):
    pixels = np.random.default_rng(0).integers(0, colours, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def photograph():
    """A smooth picture of many colours."""
    ring, shade = Image.radial_gradient("L"), Image.linear_gradient("L")
    return Image.merge("RGB", [ring, shade, shade.rotate(90)])


def encoded(image):
    written_to = io.BytesIO()
    image.save(written_to, "png")
    return base64.b64encode(written_to.getvalue()).decode()


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def source():
    """A notebook as it is committed."""
    cells = [new_markdown_cell("# Title", id="a"), new_code_cell("profile = 1", id="b")]
    cells[1].metadata["tags"] = ["parameters"]
    return new_notebook(cells=[*cells, new_code_cell("draw()", id="c")])


def ran(*outputs):
    """The same as papermill leaves it, with these outputs of its last cell."""
    notebook = source()
    injected = new_code_cell("profile = 2", metadata={"tags": [published.INJECTED]})
    notebook.cells.insert(2, injected)
    notebook.metadata["papermill"] = {"duration": 3.0}
    for cell in notebook.cells:
        cell.metadata["papermill"] = {"duration": 1.0}
    notebook.cells[-1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    notebook.cells[-1].outputs, notebook.cells[-1].execution_count = list(outputs), 7
    return notebook


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def publish(*outputs):
    """The published notebook."""
    return nbformat.reads(published.with_outputs(source(), ran(*outputs), "n.ipynb"), 4)


def test_outputs_come_without_bars_warnings_and_times():
    html = new_output("display_data", {"text/html": "<b>1</b>"}, metadata={"x": 1})
    result = new_output("execute_result", {"text/plain": "3"}, execution_count=7)
    widget = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
    frame = new_output("display_data", {"text/html": "<div><iframe srcdoc='...'></iframe></div>"})
    of_tqdm = stream("features:  18%|█▊   | 332/1888 [00:10<00:47, 32.57pictures/s]")
    hidden = stream("UserWarning: x", "stderr"), widget, frame, of_tqdm
    made = publish(stream(BAR), *hidden, html, result)
    assert [cell.source for cell in made.cells] == [cell.source for cell in source().cells]
    text, shown, value = made.cells[-1].outputs
    assert text.text == " 100 %\ndone\n"
    assert shown.metadata == {} and shown.data["text/html"] == "<b>1</b>"
    assert made.cells[-1].execution_count == value.execution_count == 2
    assert "papermill" not in str(made) and "iopub" not in str(made)
    assert not published.faults(made)


def test_folders_of_the_machine_get_names(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "CODE", tmp_path / "code")
    monkeypatch.setattr(files, "WORK", tmp_path / "code" / "work")
    monkeypatch.setattr(published.Path, "home", lambda: tmp_path / "me")
    monkeypatch.setenv("HMLC_DATA", str(tmp_path / "sets"))
    text = " ".join(str(tmp_path / name) for name in ("code/a", "code/work/b", "me/c", "sets"))
    made = publish(stream(text), new_output("display_data", {"text/html": text}))
    for output in made.cells[-1].outputs:
        shown = output.get("text") or output.data["text/html"]
        assert shown == "[project]/a [work]/b ~/c [data]"


@pytest.mark.parametrize("path", ["/home/somebody/x.npz", "/mnt/disk/x", r"C:\Users\me"])
@pytest.mark.parametrize("around", ["read {}", "<td>{}</td>", "file://{}"])
def test_other_paths_are_refused_with_cell_and_text(path, around):
    with pytest.raises(published.Local, match="n.ipynb, cell c: ") as refused:
        publish(stream(around.format(path)))
    assert path in str(refused.value)


def test_addresses_and_fractions_are_no_paths():
    text = "https://example.org/home/x 3/4 a/home/b ~/tmp/x"
    assert publish(stream(text)).cells[-1].outputs[0].text == text


def test_code_that_was_changed_since_is_refused():
    notebook = source()
    notebook.cells[-1].source = "draw(2)"
    with pytest.raises(ValueError, match="n.ipynb was changed since it was run"):
        published.with_outputs(notebook, ran(), "n.ipynb")


def test_a_notebook_that_was_not_run_to_its_end_is_refused():
    with pytest.raises(ValueError, match="n.ipynb was not run to its end"):
        publish()


def test_pictures_get_smaller_until_the_notebook_fits(monkeypatch):
    small, large = picture(8), picture(300)
    assert publish(new_output("display_data", {published.PNG: small})).cells[-1].outputs[0].data[
        published.PNG] == small  # fmt: skip
    monkeypatch.setattr(published, "MOST_BYTES", 60_000)
    text = published.with_outputs(
        source(), ran(new_output("display_data", {published.PNG: large})), "n.ipynb"
    )
    assert len(text.encode()) < 60_000 < len(large)
    ((kind, shown),) = nbformat.reads(text, 4).cells[-1].outputs[0].data.items()
    image = opened(shown)
    assert f"image/{image.format.lower()}" == kind == published.JPEG  # noise is a photograph
    assert image.width < 300
    monkeypatch.setattr(published, "MOST_BYTES", 3_000)
    with pytest.raises(ValueError, match="n.ipynb has .* bytes, more than 3,000"):
        publish(new_output("display_data", {published.PNG: large}))


def test_pictures_shrink_alike(monkeypatch):
    sides = (300, 150)
    shown = [new_output("display_data", {published.PNG: picture(side)}) for side in sides]
    monkeypatch.setattr(published, "MOST_BYTES", 60_000)
    outputs = publish(*shown).cells[-1].outputs
    scales = [opened(next(iter(one.data.values()))).width / side
              for one, side in zip(outputs, sides, strict=True)]  # fmt: skip
    assert scales[1] < 1 and round(scales[1] - scales[0], 2) in (0, 0.1)


def test_few_colours_stay_a_png_and_photographs_become_jpeg():
    flat = Image.fromarray(np.repeat(np.uint8([[0] * 99, [255] * 99]), 99, 0))
    kind, made = published.smaller(encoded(flat), 0.5)
    assert kind == published.PNG and opened(made).width == 50
    assert published.smaller(encoded(photograph()), 0.5)[0] == published.JPEG


def test_colours_are_dropped_only_where_a_jpeg_is_no_closer():
    lines = np.full((99, 99, 3), 255, np.uint8)
    lines[::9], lines[:, ::9] = (30, 90, 200), (200, 90, 30)
    kind, few = published.smaller(encoded(Image.fromarray(lines)), 0.7)
    assert kind == published.PNG and len(opened(few).getcolors()) <= 64
    hue = Image.linear_gradient("L").convert("RGB")  # 256 greys: a JPEG is closer than 64 of them
    kind, many = published.smaller(encoded(hue), 0.7)
    assert kind == published.JPEG or len(opened(many).getcolors(256)) > 64


def test_a_rare_colour_stays_what_it_is():
    drawn = np.full((400, 400, 3), 255, np.uint8)
    drawn[::9] = np.random.default_rng(0).integers(0, 256, (1, 400, 1), np.uint8)
    drawn[::9, ::7] = (213, 94, 0)
    drawn[50:54, 50:54] = blue = (0, 114, 178)
    kind, few = published.smaller(encoded(Image.fromarray(drawn)), 1)
    shown = opened(few).convert("RGB").getpixel((51, 51))
    assert kind == published.PNG and np.abs(np.subtract(shown, blue)).max() < 12


FAULTS = {
    "other sources": lambda n: n.cells[-1].update(source="other()"),
    "local: /home/me/x": lambda n: n.cells[-1].outputs.append(stream("/home/me/x")),
    "not for readers: stderr": lambda n: n.cells[-1].outputs.append(stream("x", "stderr")),
    "error: KeyError": lambda n: n.cells[-1].outputs.append(
        new_output("error", ename="KeyError", evalue="", traceback=[])
    ),
    "of papermill": lambda n: n.metadata.update(papermill={}),
    "times of cell": lambda n: n.cells[-1].metadata.update(execution={}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_committed_notebook_with_a_fault_is_told(fault):
    made = publish(stream("good"))
    assert not published.faults(made)
    FAULTS[fault](made)
    (told,) = published.faults(made)
    assert fault in told


def test_notebooks_whose_outputs_were_cleared_have_no_fault():
    made = publish(stream("good"))
    made.cells[-1].update(source="other()", outputs=[])
    assert not published.faults(made) and not published.faults(source())


# ------------------------------------------------------------ the option


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two notebooks, whose executed copies print their number; returns their paths."""
    paths = [tmp_path / f"0{number}_n.ipynb" for number in (1, 2)]
    executed = files.DATA / "executed"
    executed.mkdir(parents=True)
    for path in paths:
        nbformat.write(source(), path)
        nbformat.write(ran(stream(path.name)), executed / f"cpu-{path.name}")
    monkeypatch.setattr(options, "NOTEBOOKS", paths)
    return paths


def test_publishing_writes_all_notebooks(two):
    published.publish("cpu")
    for path in two:
        assert nbformat.read(path, 4).cells[-1].outputs[0].text == path.name


def test_nothing_is_written_unless_all_can_be(two):
    before = [path.read_text() for path in two]
    broken = ran(stream("/home/me/x"))
    nbformat.write(broken, files.DATA / "executed" / f"cpu-{two[1].name}")
    with pytest.raises(published.Local):
        published.publish("cpu")
    with pytest.raises(FileNotFoundError, match="run all notebooks first"):
        published.publish("smoke")
    assert [path.read_text() for path in two] == before


def ended(*words):
    with pytest.raises(SystemExit) as stopped:
        run.main(list(words))
    return stopped.value.code


def test_a_whole_run_is_published_and_the_results_are_written(two, monkeypatch, capsys):
    monkeypatch.setattr(run, "run_all", lambda args, plans: {})
    monkeypatch.setattr(written, "write", lambda: [two[0].parent / "RESULTS.md"])
    assert ended("--profile", "cpu", "--publish") == 0
    assert "Published: 2 notebooks, RESULTS.md" in capsys.readouterr().out
    assert nbformat.read(two[0], 4).metadata[published.METADATA]


def test_a_run_that_is_not_whole_is_not_published(two, monkeypatch):
    before = two[0].read_text()
    monkeypatch.setattr(run, "run_all", lambda args, plans: {"cifar100": "missing"})
    assert "not whole" in ended("--profile", "cpu", "--publish")
    assert ended("--profile", "cpu", "--publish", "--only", "01") == 2
    for profile in ("gpu", "smoke"):
        assert ended("--profile", profile, "--publish") == 2
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    assert "choose --profile cpu" in ended("--publish")
    assert two[0].read_text() == before


def test_examples_are_run_with_the_photographs_and_published(monkeypatch):
    done = []
    monkeypatch.setattr(write_examples.run, "execute", lambda *args: done.append(args))
    monkeypatch.setattr(write_examples.published, "publish", lambda *args: done.append(args))
    write_examples.main(["pictures"])
    (explorer, target, nothing), (own, _, given), (profile, paths) = done
    assert (nothing, given, profile) == ({}, {"path": "pictures"}, "cpu")
    assert [explorer, own] == paths
    assert [path.name for path in paths if path.exists()] == EXAMPLES
    assert target == files.DATA / "executed" / "cpu-explorer.ipynb"
