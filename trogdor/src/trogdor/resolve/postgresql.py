"""PostgreSQL: the primary, or a replica.

Options: ``hosts`` (``n1:5432,…``; else every node is asked at 5432), ``user``, ``database``, ``password``,
``timeoutMs``. The role must be allowed to connect; ``pg_is_in_recovery()`` needs no further right.
"""

from trogdor.resolve import DEFAULT_TIMEOUT_S, CannotResolve, Found, Options, ask_all, ends, libpq, node_at
from trogdor.topology import Topology

PORT = 5432
ROLES = ("primary", "replica", "replicas")


def resolve(topology: Topology, role: str, options: Options) -> Found:
    """The nodes whose server plays this part now. Raises CannotResolve."""
    if role not in ROLES:
        raise CannotResolve(f"postgresql knows no role {role!r}: there are {', '.join(ROLES)}")
    timeout_s = max(round(float(options.get("timeoutMs", DEFAULT_TIMEOUT_S * 1000)) / 1000), 1)
    asked = ends(options.get("hosts"), topology, PORT)

    def in_recovery(host: str, port: int) -> bool:
        given = {
            "host": host, "port": port, "user": options.get("user", "postgres"), "password": options.get("password"),
            "dbname": options.get("database", "postgres"), "connect_timeout": timeout_s,
        }  # fmt: skip
        try:
            parameters = {name: str(value) for name, value in given.items() if value is not None}
            return libpq.ask("SELECT pg_is_in_recovery()", parameters) == "t"
        except libpq.PostgresqlError as failure:
            raise CannotResolve(str(failure)) from None

    answers, failures = ask_all(asked, in_recovery, enough=len(asked))
    wanted = sorted(node_at(host, topology) for (host, _), standby in answers.items() if standby != (role == "primary"))
    if not wanted:
        raise CannotResolve(f"no server is a {role.removesuffix('s')}: {'; '.join(failures) or 'all answered'}")
    if role == "primary" and len(wanted) > 1:
        raise CannotResolve(f"{' and '.join(wanted)} both say that they are the primary")
    nodes = tuple(wanted if role == "replicas" else wanted[:1])
    return Found(nodes, f"pg_is_in_recovery() of {len(answers)} servers: {role} {', '.join(nodes)}")
