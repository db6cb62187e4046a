"""Pillow's reader of AVIF without its look into EXIF.

Pillow writes the turn that the boxes `irot` and `imir` ask for into the EXIF where that says another one, and decodes
every value to do so: most of a second for each megabyte, before anybody can ask how much there is. Here EXIF stays
bytes, for `exif_of` to look into.
"""

from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile, _get_default_max_threads

from model.errors import UnsupportedImageError


class AvifFile(AvifImageFile):
    """An AVIF file of which nothing is decoded yet.

    Attributes:
        orientation: its turn by those boxes, 1 to 8 as in EXIF; it holds whatever EXIF and XMP say.
    """

    orientation: int

    def _open(self) -> None:
        if not SUPPORTED:
            raise UnsupportedImageError("this is AVIF, which this build of Pillow does not read")
        from PIL import _avif  # is not there otherwise

        assert self.fp is not None
        self._decoder = _avif.AvifDecoder(self.fp.read(), "auto", _get_default_max_threads())
        self._size, self.n_frames, self._mode, icc, exif, self.orientation, xmp = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        found = {"icc_profile": icc, "exif": exif, "xmp": xmp}
        self.info.update((name, part) for name, part in found.items() if part)
        self.seek(0)
