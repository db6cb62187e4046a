"""Why a job has no result, in one tree; HTTP's answers to these stand in `service.api.problems`.

JobError                    a job has no result
├── UnknownModelError       no model has that name
├── NotReadyError           the models are being loaded
├── DeadError               a worker's thread has ended
├── StalledError            a worker shows no sign of life
├── RefusedError            no place, or what cannot be done in time
├── TooMuchWorkError        more than could be done in time if nothing else were done
├── DeadlineError           its time is over
├── OutOfMemoryError        the device or the machine has no memory for it
├── DrainedError            the server is being stopped
└── AbandonedError          nobody waits for it any more
"""


class JobError(Exception):
    """A job has no result; the message says why, for people."""


class UnknownModelError(JobError):
    """No model has that name."""


class NotReadyError(JobError):
    """The models are being loaded."""

    def __init__(self) -> None:
        super().__init__("The models are being loaded.")


class DeadError(JobError):
    """A worker's thread has ended: the process has to be started again."""

    def __init__(self) -> None:
        super().__init__("A worker has ended; the server must be restarted.")


class StalledError(JobError):
    """A worker has shown no sign of life for longer than it may.

    Attributes:
        age: since the last sign of life, in seconds.
        limit: how long that may be.
    """

    def __init__(self, *, age: float, limit: float) -> None:
        super().__init__(f"No sign of life from a worker for {age:.0f} s (CWIC_STALL_TIMEOUT).")
        self.age = age
        self.limit = limit


class RefusedError(JobError):
    """Work that is not taken on.

    Attributes:
        retry_after: when to ask again, in whole seconds.
        limit: what would have been passed, where it is a number of the settings.
    """

    def __init__(self, message: str, *, retry_after: int, limit: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit


class TooMuchWorkError(JobError):
    """More than could be done in time, however little else there were to do.

    Attributes:
        seconds: that it would take.
        limit: that it may take.
    """

    def __init__(self, seconds: float, *, limit: float) -> None:
        super().__init__(
            f"It would take about {seconds:.0f} s, and {limit:.0f} are allowed (CWIC_REQUEST_TIMEOUT): send a "
            "smaller picture, or ask for less effort, or for a quality instead of a target."
        )
        self.seconds = seconds
        self.limit = limit


class DeadlineError(JobError):
    """It took longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"It took more than {seconds:g} s to be done (CWIC_REQUEST_TIMEOUT).")


class OutOfMemoryError(JobError):
    """There is no memory for it now."""

    def __init__(self) -> None:
        super().__init__("The server has no memory for this now; a smaller picture may do, or a later time.")


class DrainedError(JobError):
    """The server is being stopped and did not come to it."""

    def __init__(self) -> None:
        super().__init__("The server is being stopped; ask again.")


class AbandonedError(JobError):
    """The client left before it was done."""

    def __init__(self) -> None:
        super().__init__("The client left before it was done.")
