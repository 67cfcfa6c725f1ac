"""What a request can be refused with. ``http/`` maps each to its status; the message is what the caller reads."""


class RequestRefused(Exception):
    """A request that is not carried out; nothing was changed by it."""


class BadRequest(RequestRefused):
    """The request contradicts itself or is malformed (400)."""


class NotFound(RequestRefused):
    """There is no such thing (404)."""


class Conflict(RequestRefused):
    """The id is taken by something else (409)."""


class UnknownClass(RequestRefused):
    """No spec of this ``class`` is known here (501, as upstream)."""


class Unavailable(RequestRefused):
    """Not now: frozen, shutting down, or too much at once (503)."""
