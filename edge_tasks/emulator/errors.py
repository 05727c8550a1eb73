"""The two kinds of error: `ApiError` is answered to a client, `StartError` is printed by the program that starts us."""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """Google's canonical codes: number on gRPC (and in operations), status of HTTP.

    https://cloud.google.com/apis/design/errors#error_codes
    """

    CANCELLED = (1, 499)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)

    @classmethod
    def of(cls, number: int) -> Code:
        """Return the code with a number of `google.rpc.Code`."""
        return next(code for code in cls if code.number == number)

    @property
    def number(self) -> int:
        """The number of `google.rpc.Code`."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """The status of the HTTP answer."""
        return self.value[1]


class ApiError(Exception):
    """A request that is refused, or work that failed, in the words of the API."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[ApiError], tuple[Code, str]]:
        return type(self), (self.code, self.message)


class StartError(Exception):
    """The emulator cannot start; `hint` says what to do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def invalid(message: str) -> ApiError:
    """Return the error for a request that no state of the server would make right."""
    return ApiError(Code.INVALID_ARGUMENT, message)


def invalid_field(field: str, message: str) -> ApiError:
    """Return the error for a field that breaks a rule, in the form that Vertex AI gives it."""
    return invalid(f"List of found errors:\t1.Field: {field}; Message: {message}\t")


def precondition(message: str) -> ApiError:
    """Return the error for a request that the present state forbids."""
    return ApiError(Code.FAILED_PRECONDITION, message)


def not_found(kind: str, name: str) -> ApiError:
    """Return the error for a resource that is not there."""
    return ApiError(Code.NOT_FOUND, f"{kind} `{name}` not found.")


def stopping() -> ApiError:
    """Return the error for what comes while the emulator ends."""
    return ApiError(Code.UNAVAILABLE, "The emulator is being stopped.")


def no_space(what: str) -> ApiError:
    """Return the error for what a full disk forbids. Clients would repeat it for minutes under its own code."""
    return ApiError(Code.FAILED_PRECONDITION, f"No space left on this machine's disk: {what}.")


def unimplemented(what: str) -> ApiError:
    """Return the error for what Vertex AI does and this emulator does not."""
    return ApiError(Code.UNIMPLEMENTED, what)
