"""tests/golden/io/hdf5: files of h5py that the reader must read, or refuse by name. Needs h5py 3.16."""

from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).resolve().parent.parent.parent / "tests/golden/io/hdf5"
VALUES = np.arange(24, dtype="<u4") * 7


def plain(file, name="table", values=VALUES, **options):
    settings = dict(chunks=(8,), fletcher32=True) | options
    return file.create_dataset(name, data=values, **settings)


def make(name, fill):
    with h5py.File(FOLDER / name, "w", libver=("earliest", "v110")) as file:
        fill(file)


def soft_link(file):
    plain(file, "elsewhere")
    file["table"] = h5py.SoftLink("/elsewhere")


def external_link(file):
    file["table"] = h5py.ExternalLink("good.h5", "/table")


def attributes(file):
    plain(file)
    file.attrs["committed_rows"] = np.uint64(2**63 + 5)
    file.attrs.create("store", np.bytes_("abc"))
    file.attrs["signed"] = np.int64(-1)
    file.attrs["long"] = "variable"


def virtual(file):
    plain(file, "elsewhere")
    layout = h5py.VirtualLayout((24,), "<u4")
    layout[:] = h5py.VirtualSource(file["elsewhere"])
    file.create_virtual_dataset("table", layout)


def not_stored(file):
    """Far more elements than the file has bytes: chunks of which none was ever written."""
    file.create_dataset("table", shape=(2**30,), maxshape=(2**30,), dtype="<u4", chunks=(4096,), fletcher32=True)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    make("good.h5", attributes)
    make("soft_link.h5", soft_link)
    make("external_link.h5", external_link)
    make("virtual.h5", virtual)
    make("no_checksum.h5", lambda file: plain(file, fletcher32=False))
    make("compressed.h5", lambda file: plain(file, compression="gzip"))
    make("other_type.h5", lambda file: plain(file, values=VALUES.astype("<i4")))
    make("other_chunks.h5", lambda file: plain(file, chunks=(4,)))
    make("other_extent.h5", lambda file: plain(file, values=VALUES[:16]))
    make("growing.h5", lambda file: plain(file, maxshape=(None,)))
    make("contiguous.h5", lambda file: file.create_dataset("table", data=VALUES))
    make("two_dimensions.h5", lambda file: plain(file, values=VALUES.reshape(3, 8), chunks=(3, 8)))
    make("not_stored.h5", not_stored)
