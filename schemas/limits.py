"""Every limit of the system in one place, with the relations that must hold between them."""

KIB = 1024
MIB = 1024 * KIB

# --- one record -----------------------------------------------------------------------------------------
RECORD_BYTES_MAX = 16 * KIB  # a report with its largest evidence is 3 KiB; five times that is still read
INTAKE_MESSAGE_BYTES_MAX = 1 * MIB  # the broker's own refusal; between the two the verdict is too_large
RAW_KEPT_BYTES_MAX = 8 * KIB  # of a refused record: beyond it a prefix is kept, and the hash of the whole
EVIDENCE_BYTES_MAX = 2 * KIB

# --- one record batch of an app, as its producer packed it ------------------------------------------------
BATCH_RECORDS_MAX = 65_536  # offsets that it covers; 1 MiB holds twice as many of the least records
BATCH_UNPACKED_BYTES_MAX = 16 * MIB  # a producer's batch of 1 MiB, well compressed, is a few MiB
BATCH_FRAMES_MAX = (
    1_024  # of zstd or gzip; producers write one, each costs 10 us, and 1 MiB holds 130,000 empty ones
)

# --- one cycle, which becomes one block -----------------------------------------------------------------
CYCLE_ROWS_MAX = 16_384  # measured: 8,000 rows 46,500 reports/s, 3,000 rows 30,600; flat beyond 16,000
CYCLE_BYTES_MAX = 6 * MIB  # of record values; a block repeats at most these bytes plus ~250 a row
BLOCK_BYTES_MAX = 16 * MIB

# --- one shard's memory in the intake worker ------------------------------------------------------------
BUFFERED_ROWS_MAX = 2 * CYCLE_ROWS_MAX  # beyond this the shard's sources wait: the backpressure
BUFFERED_BYTES_MAX = 4 * CYCLE_BYTES_MAX  # the same for records of up to 1 MiB, which become too_large

# --- time -----------------------------------------------------------------------------------------------
FUTURE_TOLERANCE_MS = 5 * 60 * 1000  # clocks of gates and phones differ by minutes, not by more
BROKER_AHEAD_MS_MAX = 60 * 60 * 1000  # a broker this far ahead of the worker would move shard time for good
LATE_WINDOW_DAYS = 9  # Beijing's MaaS makes transit records two days late, claimable for seven (2 + 7)
CLOCK_YEAR_MAX = 9_900  # of a simulated clock: a lot issued then still expires on a date that can be counted
VALIDITY_YEARS_MAX = 10  # 深圳市碳普惠管理办法 Art. 22

assert CLOCK_YEAR_MAX + VALIDITY_YEARS_MAX < 9_999

# --- the archive ----------------------------------------------------------------------------------------
ARCHIVE_RUN_ROWS_MIN = 50_000  # an insert costs 1.7 us a row in 50,000-row blocks, 5 us in 4,000-row blocks
ARCHIVE_RUN_INTERVAL_MS = 5_000  # block time; the longest an archived row waits for its run to end

assert RAW_KEPT_BYTES_MAX <= RECORD_BYTES_MAX < INTAKE_MESSAGE_BYTES_MAX <= CYCLE_BYTES_MAX
assert 2 * EVIDENCE_BYTES_MAX < RECORD_BYTES_MAX
assert INTAKE_MESSAGE_BYTES_MAX < BATCH_UNPACKED_BYTES_MAX
# Worst block: every record refused and kept raw, each row with its columns and its texts uncompressed.
assert CYCLE_BYTES_MAX + CYCLE_ROWS_MAX * 512 <= BLOCK_BYTES_MAX
assert CYCLE_ROWS_MAX <= BUFFERED_ROWS_MAX
