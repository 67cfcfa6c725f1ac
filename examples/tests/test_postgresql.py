"""What PostgreSQL does when its disk cannot sync: a real server on a node of this machine, its data on Kibosh."""

import pytest

from trogdor.lab.recipes.postgresql import Postgresql, SqlError
from trogdor.testing import recovers


@pytest.mark.lab(nodes=1)
def test_an_acknowledged_row_outlives_a_disk_that_cannot_sync(lab, fault, kibosh):
    disk = kibosh("n1", "/mnt/data")
    with Postgresql(lab.nodes["n1"], data=f"{disk}/pg") as database:
        database.sql("create table kept (n int)")
        database.sql("insert into kept values (1)")
        with (
            fault.disk(disk, "fsync", prefix="/pg/pg_wal", error="EIO"),
            pytest.raises(SqlError, match="PANIC"),
        ):
            database.sql("insert into kept values (2)")
        recovers(lambda: database.sql("select n from kept where n = 1") == "1", within="60s")
