"""What to do where there is no memory: on the machine or on its device."""

import gc
import sys


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: Python's, NumPy's and Pillow's, and torch's two."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's; it may not be loaded
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def without_frames(error: BaseException) -> BaseException:
    """The error, and those behind it, without their tracebacks, whose frames keep all that was in them."""
    behind: BaseException | None = error
    while behind is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
    return error


def give_back() -> None:
    """Give back what is kept in case it is needed again, so that the next try finds room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def cuda_memory(device: str, kind: str) -> float:
    """Bytes of a GPU's memory that this process has: `allocated`, in use, or `reserved`, kept for the next use."""
    import torch  # loaded by now, as something runs there

    return float(getattr(torch.cuda, f"memory_{kind}")(device))
