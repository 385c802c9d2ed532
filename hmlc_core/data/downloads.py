"""Files from the internet: over https, checked by sha256, continued where a download broke off."""

import os
import shutil
import zipfile
import zlib
from pathlib import Path

import torch
import torchvision

from hmlc_core import files
from hmlc_core.data import bar, needs
from hmlc_core.data.notes import some

UNPACKED_LIMIT = 40 * 2**30


def fetch(name, urls, sha256, folder=None):
    """Path of a file in data/, from the first of the addresses that has it unless it is there.

    With sha256=None, for archives whose bytes are not fixed, check the contents afterwards.

    Raises:
        FileNotFoundError: if none has it; says which file to put where.
        ImportError: if the packages for downloads are not installed.
    """
    with needs("notebooks"):
        import pooch  # here: in a notebook without ipywidgets its import warns

    folder = Path(folder or files.DATA)
    known, problems = f"sha256:{sha256}" if sha256 else None, []
    for url in urls:
        try:
            return Path(pooch.retrieve(url, known, name, folder, downloader=_resume))
        except (
            OSError,
            ValueError,
        ) as error:  # requests has OSErrors, a wrong hash is a ValueError
            problems.append(f"{url}: {error}")
    raise FileNotFoundError(
        f"{name} could not be had. Put it into {folder}, or set HMLC_DATA to a folder that has the "
        "data set.\nTried:\n" + "\n".join(problems)
    )


def imagenet_resnet50():
    """torchvision's ResNet-50 with its weights of ImageNet, from torch's cache or the internet.

    Raises:
        FileNotFoundError: if they cannot be had; says which file to put where.
    """
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    try:
        return torchvision.models.resnet50(weights=weights)
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        told = f"the weights of ResNet-50 could not be downloaded ({error})"
        raise FileNotFoundError(f"{told}: put {weights.url} into {folder}") from error


def _resume(url, output, _):
    """Downloader for pooch: goes on from what is in <name>.part after a download broke off."""
    import requests

    part = Path(output).parent / f"{url.rsplit('/', 1)[-1]}.part"
    have = part.stat().st_size if part.exists() else 0
    with requests.get(url, headers={"Range": f"bytes={have}-"}, stream=True, timeout=30) as answer:
        if answer.status_code == 416:  # all of it is there
            shutil.move(part, output)
            return
        answer.raise_for_status()
        have = have if answer.status_code == 206 else 0
        total = have + int(answer.headers.get("Content-Length", 0))
        _write(answer, part, have, total)
    size = part.stat().st_size
    if size < total:
        raise OSError(f"the connection broke off after {size} of {total} bytes: run again to go on")
    shutil.move(part, output)


def _write(answer, part, have, total):
    about = dict(desc=f"download {part.stem}", total=total, initial=have, unit="B", unit_scale=True)
    with open(part, "ab" if have else "wb") as stream, bar(**about) as shown:
        for piece in answer.iter_content(2**14):
            shown.update(stream.write(piece))


def unpack(archive, folder):
    """Unpack a zip whose only folder is `folder`'s name beside it; whole or not at all.

    Raises:
        OSError: too little disk.
        FileExistsError: something is at `folder`.
        ValueError: no zip, damaged, encrypted, or larger than the limit when unpacked.
    """
    archive, folder = Path(archive), Path(folder)
    beside = folder.with_name(f".{folder.name}.unpacking")
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is in the way of {archive}: delete it and run again")
    if archive.is_dir():
        raise ValueError(f"{archive} is a folder, no zip file: delete it and run again")
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    try:
        with zipfile.ZipFile(archive) as stored:
            _require_room(archive, sum(member.file_size for member in stored.infolist()))
            beside.mkdir(parents=True, exist_ok=True)  # an empty zip makes none
            stored.extractall(beside)  # zipfile keeps members inside
        if not (beside / folder.name).is_dir():
            names = some(sorted(path.name for path in beside.iterdir())) or "nothing"
            raise ValueError(
                f"{archive} holds {names}, no folder {folder.name}: delete it and run again"
            )
        (beside / folder.name).rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{archive} is no whole zip file ({error}): delete it and run again"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _require_room(archive, needed):
    free = shutil.disk_usage(archive.parent).free
    if needed > UNPACKED_LIMIT:
        raise ValueError(
            f"{archive} would unpack to {needed / 2**30:.0f} GiB, more than the limit of "
            f"{UNPACKED_LIMIT / 2**30:.0f}"
        )
    if needed > free:
        raise OSError(
            f"{archive} needs {needed / 2**30:.1f} GiB to unpack, but {archive.parent} has "
            f"{free / 2**30:.1f} GiB free"
        )
