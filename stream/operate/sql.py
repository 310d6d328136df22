"""SQL against the archive, that is its worker's endpoint or a real ClickHouse."""

import http.client
from typing import NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from stream.errors import OperatorError
from stream.settings import Settings

TIMEOUT_S = 60
_UNKNOWN_TABLE = "60"


class Endpoint(NamedTuple):
    """Where to ask: a server, the query string that goes with every query, and the login."""

    secure: bool
    host: str
    port: int
    arguments: dict[str, str]
    headers: dict[str, str]


def endpoint_of(settings: Settings) -> Endpoint:
    """The archive worker's endpoint; with a real ClickHouse, ClickHouse itself."""
    if settings.query_url:
        url = urlsplit(settings.query_url)
        login = {"X-ClickHouse-User": "operator", "X-ClickHouse-Key": settings.query_token or ""}
        return Endpoint(False, url.hostname or "", url.port or 80, {}, login)
    url = urlsplit(settings.clickhouse_dsn)
    port = url.port or 8123
    login = {
        "X-ClickHouse-User": unquote(url.username or ""),
        "X-ClickHouse-Key": unquote(url.password or ""),
    }
    arguments = {"database": url.path.strip("/") or "default", "readonly": "1"}
    return Endpoint(port in (443, 8443), url.hostname or "", port, arguments, login)


def ask(endpoint: Endpoint, sql: str, wanted_format: str) -> tuple[bytes, str]:
    """The answer, and its format: `wanted_format` unless the SQL names another. Raises OperatorError."""
    connect = http.client.HTTPSConnection if endpoint.secure else http.client.HTTPConnection
    connection = connect(endpoint.host, endpoint.port, timeout=TIMEOUT_S)
    arguments = urlencode({**endpoint.arguments, "default_format": wanted_format})
    try:
        connection.request("POST", f"/?{arguments}", sql.encode(), endpoint.headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        where = f"{endpoint.host}:{endpoint.port}"
        remedy = "start it with: points worker archive." if not endpoint.arguments else "see that it runs."
        raise OperatorError(f"The archive does not answer at {where} ({error}).", remedy) from error
    finally:
        connection.close()
    if response.status != 200:
        raise _refused(
            response.getheader("X-ClickHouse-Exception-Code"), body.decode(errors="replace").strip()
        )
    return body, response.getheader("X-ClickHouse-Format", wanted_format)


def _refused(code: str | None, message: str) -> OperatorError:
    if code == "516":
        return OperatorError(message, "use the settings of the stack whose archive worker this is.")
    todo = (
        "`points query 'SHOW TABLES'` lists what there is." if code == _UNKNOWN_TABLE else "correct the SQL."
    )
    return OperatorError(message, todo)
