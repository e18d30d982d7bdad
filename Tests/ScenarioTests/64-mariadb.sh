#!/bin/bash
# MariaDB, captured, by each way in which InnoDB writes: Linux AIO with O_DIRECT (io_uring is refused, so it falls back), its own
# threads, O_DSYNC; with Aria, MyISAM, page compression and the binary log. Trees are equal, and the guard had nothing to do; when
# the node is killed under load, every row that was acknowledged is on the other one. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
. "$here/mariadb.sh"

mend() { :; }
sandbox up "$pair" > /dev/null || exit 1
check "mariadb-install-db" installs
check "Linux AIO, O_DIRECT" works native "native AIO" --innodb-flush-method=O_DIRECT
check "without native AIO" works threads "" --innodb-use-native-aio=0
check "O_DSYNC" works dsync "" --innodb-flush-method=O_DSYNC
check "the node dies under $clients clients" node_dies --innodb-flush-method=O_DIRECT
check "every acknowledged row is there" finds
tail -n 1 "$work/output"
check "tables are sound on the other node" sound native
check "the first one comes back" comes_back
finish_scenario
