"""How a picture is to be encoded, as the `cwic` command's arguments say it."""

import argparse

from model.command_line.files import UsageError
from model.config import TUNES
from model.options import DEFAULT_EFFORT, DEFAULT_QUALITY, EncodeOptions
from model.types import Roi

QUALITY = f"1 to 100 (default: {DEFAULT_QUALITY:g}); not for models of one rate"


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Declare all of it."""
    parser.add_argument("--quality", type=float, help=QUALITY)
    parser.add_argument(
        "--target-bytes",
        metavar="N",
        type=int,
        help="size of the file instead of a quality: at least 97 %% of N, never more",
    )
    parser.add_argument("--target-bpp", metavar="X", type=float, help="the same in bits for each pixel")
    parser.add_argument(
        "--target-psnr", metavar="DB", type=float, help="PSNR to be reached instead of a quality, in dB"
    )
    parser.add_argument(
        "--target-ssimulacra2",
        metavar="X",
        type=float,
        help="the same by SSIMULACRA2; needs the extra `ssimulacra2`",
    )
    parser.add_argument(
        "--tune", choices=TUNES, help="what the file is made to be good at (default: the model's)"
    )
    parser.add_argument(
        "--effort",
        type=int,
        help="0 to 3: time spent to make the file smaller (default: 1); not for models of one rate",
    )
    parser.add_argument(
        "--metadata",
        choices=("drop", "keep"),
        default="drop",
        help="EXIF and an sRGB profile of the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--lossless",
        action="store_true",
        help="keep the picture as it is, bit for bit; with neither quality nor target nor tune",
    )
    parser.add_argument(
        "--roi",
        metavar="X,Y,W,H,WEIGHT",
        type=Roi.of,
        action="append",
        help="a rectangle, in pixels of the upright picture, whose errors weigh 1/16 to 16 times as much as without "
        "it; may be given several times, and a later one covers those before it",
    )
    parser.add_argument(
        "--roi-mask",
        metavar="FILE",
        help="the same as a grey picture of the same size: 128 is a weight of 1, and 32 more double it",
    )


def encode_options(args: argparse.Namespace) -> EncodeOptions:
    """Of a command's arguments, of which those that it does not have are not asked for.

    Raises UsageError, ParameterError.
    """
    given = vars(args)
    if given.get("roi") and given.get("roi_mask") is not None:
        raise UsageError("--roi or --roi-mask: rectangles or a mask, not both")
    if given.get("lossless") and given.get("roi_mask") is not None:
        raise UsageError("--roi-mask is not for --lossless, which keeps all of the picture")
    if given.get("roi_mask") == "-" and given.get("output_dir") is not None:
        raise UsageError("--roi-mask `-` is for one file; with --output-dir the mask must be a file")
    return EncodeOptions(
        quality=given.get("quality"),
        target_bytes=given.get("target_bytes"),
        target_bpp=given.get("target_bpp"),
        target_psnr=given.get("target_psnr"),
        target_ssimulacra2=given.get("target_ssimulacra2"),
        tune=given.get("tune"),
        roi=given.get("roi"),
        effort=DEFAULT_EFFORT if given.get("effort") is None else given["effort"],
        lossless=given.get("lossless") or None,
    )
