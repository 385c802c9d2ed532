"""What a file is by the ending of its name: a picture, a mesh, or what another package reads."""

from functools import lru_cache

from PIL import Image

MESHES = (".off", ".obj", ".stl", ".ply")
NO_PICTURES = ("BUFR", "GRIB", "HDF5", "MPEG", "PDF")  # that Pillow has names for
RAW = "3fr arw cr2 cr3 crw dcr dng erf iiq kdc mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
READERS = {  # packages for pictures that Pillow may not read, and what else helps
    "pillow-heif": "heic heics heif heifs hif",
    "pillow-avif-plugin": "avif avifs",
    "pillow-jxl-plugin": "jxl",
    "rawpy": RAW,
    "cairosvg": "svg svgz",
    "psd-tools": "psd psb",
    "xcf2png or GIMP": "xcf",
    "OpenEXR": "exr",
    "imageio": "hdr",
    "imagecodecs": "jxr wdp hdp",
    "pydicom": "dcm dicom",
    "nibabel": "nii",
    "tifffile": "lsm",
    "openslide-python": "svs ndpi mrxs scn vms bif",
    "nd2": "nd2",
    "czifile": "czi",
    "ghostscript": "eps ps ai",
    "a Windows machine": "wmf emf",
}
READER = {f".{ending}": name for name, endings in READERS.items() for ending in endings.split()}


def readable():
    """Endings of pictures that Pillow reads here, those of registered plug-ins too."""
    return _readable(len(Image.registered_extensions()), len(Image.OPEN))


@lru_cache(1)
def _readable(*_how_many):  # a plug-in registers more
    known = Image.registered_extensions().items()
    return {
        ending
        for ending, name in known
        if (name in Image.OPEN or name == "MPO") and name not in (*NO_PICTURES, "EPS", "WMF")
    }


def kind(path):
    """ "picture", "mesh", "unread" (a picture that needs another package) or "other"."""
    ending = path.suffix.lower()
    if ending in MESHES:
        return "mesh"
    return "picture" if ending in readable() else "unread" if ending in READER else "other"


def advice(path):
    """Why a picture cannot be read here, and what to do."""
    ending = path.suffix.lower()
    package = READER[ending]
    return (
        f"{ending} is not read by Pillow here: it takes {package} to read it; save the pictures as "
        "JPEG or PNG"
        + (f", or install {package} and register it before" if "pillow" in package else "")
    )
