"""Connections that send a request once: httplib2 would send it again by itself, spent and not in the ledger.

Its `RETRIES` does not help: a connection that is closed before the answer is tried a second time "regardless".
"""

from __future__ import annotations

import http.client
from typing import Any

import httplib2


class _Once:
    """Mixed into httplib2's connections."""

    def getresponse(self) -> Any:
        """The answer; a closed connection is an error as any other."""
        try:
            return super().getresponse()  # type: ignore[misc]  # of the class that this is mixed into
        except (http.client.BadStatusLine, http.client.ResponseNotReady) as error:
            raise ConnectionResetError(f"closed before the answer ({type(error).__name__})") from error


class _Plain(_Once, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc]  # httplib2 has no types
    pass


class _Secure(_Once, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc]  # as above
    pass


class OnceHttp(httplib2.Http):  # type: ignore[misc]  # httplib2 has no types
    """httplib2.Http, each request sent at most once, and no connection used again that did not give its whole answer."""

    def request(self, uri: str, *given: Any, connection_type: Any = None, **more: Any) -> Any:
        """As httplib2.Http.request."""
        kind = _Secure if uri.startswith("https:") else _Plain
        return super().request(uri, *given, connection_type=connection_type or kind, **more)

    def _conn_request(self, conn: Any, *given: Any) -> Any:
        try:
            return super()._conn_request(conn, *given)
        except (OSError, http.client.HTTPException) as error:
            # httplib2 keeps it open after a timeout: the next request would be given this one's late answer.
            conn.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionResetError(f"cut within the answer ({type(error).__name__})") from error
