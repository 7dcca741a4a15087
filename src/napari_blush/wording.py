"""What people are told in more than one place: times, and errors that are not ours."""

from napari_blush.errors import BlushError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says of memory in a plain RuntimeError: CUDA and MPS, Linux, elsewhere."""


def says_out_of_memory(error: BaseException) -> bool:
    """Return whether the words of an error are those of memory that ran out."""
    said = str(error).lower()
    return any(phrase in said for phrase in _OUT_OF_MEMORY)


def in_words(error: BaseException) -> str:
    """Return any error as a sentence: our own say what to do, for all others it is added."""
    if isinstance(error, (BlushError, OSError)):
        return str(error)
    first_line = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError) or says_out_of_memory(error):
        return (
            f"Memory ran out ({first_line or 'no detail given'}); wanted room for a batch of "
            "images; lower the memory limit in the expert settings, or choose another device."
        )
    return (
        f"The computation failed ({type(error).__name__}: {first_line}); whole iterations are "
        "kept; go on from there, and if it fails again choose another device or report it."
    )


def duration(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
