#!/usr/bin/env bash
# Real clients against a real server: pytest on tests/. Usage: clients.sh [clients|faults|everyday|long] [pytest options]
#   everyday   what `make test` runs: all clients, few examples, 10 rounds of kill -9; not the tests marked slow;
#              TALKIE_TEST_WORKERS (2) files at a time: most of a test is waiting
#   clients    only tests/clients        faults   only tests/faults
#   long       both, with 200 examples of each operation and 100 rounds
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-everyday}
shift || true
where=(tests/clients tests/faults)
case $part in
  everyday) set -- -m "not slow" --numprocesses "${TALKIE_TEST_WORKERS:-2}" --dist loadfile "$@" ;;
  clients) where=(tests/clients) ;;
  faults) where=(tests/faults) ;;
  long)
    export TALKIE_EXAMPLES=${TALKIE_EXAMPLES:-200} TALKIE_ROUNDS=${TALKIE_ROUNDS:-100}
    ;;
  *) echo "unknown part $part: everyday, clients, faults or long" >&2; exit 2 ;;
esac
exec timeout --kill-after 30 "${TALKIE_TESTS_LIMIT:-7200}" \
  target/venv/bin/python -m pytest -c tests/pytest.ini --rootdir tests -p no:cacheprovider -q "${where[@]}" "$@"
