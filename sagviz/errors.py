"""One family of errors. Each message is a sentence: what was given, what is allowed, what to try."""


class SagvizError(Exception):
    """Root of everything that sagviz raises on purpose."""


class ArgumentError(SagvizError, ValueError):
    """An argument is of the wrong kind or out of range."""


class ModelError(SagvizError):
    """A model cannot be found, loaded or used."""


class TraceError(SagvizError):
    """A trace file is damaged or not a trace, or a trace lacks what was asked for."""


class ReportError(SagvizError):
    """A report could not be made or written."""


class OutOfMemoryError(SagvizError, MemoryError):
    """The device, or the computer, has no memory left for what was asked."""


class NotFiniteError(SagvizError, ArithmeticError):
    """A network, the guidance or a picture came out as NaN or infinity."""


class WorkerError(SagvizError):
    """The executor of a sweep broke, was shut down, or gave up."""


class SagvizWarning(UserWarning):
    """Something was ignored or cut off, and the run goes on."""
