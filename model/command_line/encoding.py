"""How a picture is to be encoded, as the `cwic` command's arguments say it."""

import argparse

from model.config import TUNES
from model.options import DEFAULT_QUALITY, EncodeOptions

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


def encode_options(args: argparse.Namespace) -> EncodeOptions:
    """Of a command's arguments, of which those that it does not have are not asked for; raises ParameterError."""
    given = vars(args)
    return EncodeOptions(
        quality=given.get("quality"),
        target_bytes=given.get("target_bytes"),
        target_bpp=given.get("target_bpp"),
        target_psnr=given.get("target_psnr"),
        target_ssimulacra2=given.get("target_ssimulacra2"),
        tune=given.get("tune"),
        lossless=given.get("lossless") or None,
    )
