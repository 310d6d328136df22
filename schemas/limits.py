"""Every limit of the system in one place, with the relations that must hold between them."""

KIB = 1024
MIB = 1024 * KIB

# --- one record -----------------------------------------------------------------------------------------
RECORD_BYTES_MAX = 16 * KIB  # a report with its largest evidence is 3 KiB; five times that is still read
INTAKE_MESSAGE_BYTES_MAX = 1 * MIB  # the broker's own refusal; between the two the verdict is too_large
EVIDENCE_BYTES_MAX = 2 * KIB

# --- one record batch of an app, as its producer packed it ------------------------------------------------
BATCH_RECORDS_MAX = 65_536  # offsets that it covers; 1 MiB holds twice as many of the least records
BATCH_UNPACKED_BYTES_MAX = 16 * MIB  # a producer's batch of 1 MiB, well compressed, is a few MiB
BATCH_FRAMES_MAX = (
    1_024  # of zstd or gzip; producers write one, each costs 10 us, and 1 MiB holds 130,000 empty ones
)

# --- one cycle, which becomes one block -----------------------------------------------------------------
CYCLE_ROWS_MAX = 16_384  # measured: 8,000 rows 46,500 reports/s, 3,000 rows 30,600; flat beyond 16,000
SHORT_CYCLE_ROWS_MAX = 1_024  # while a source that keeps up may send at any moment: some 100 ms
KEEPS_UP_MS = 10_000  # a source was heard of so lately
CYCLE_BYTES_MAX = 6 * MIB  # of record values; a block repeats at most these bytes plus ~250 a row
BLOCK_BYTES_MAX = 16 * MIB  # as it is written
BLOCK_UNPACKED_BYTES_MAX = 256 * MIB  # a block larger than this was written by nobody of ours

# --- one step of a recovery, which takes many blocks in and commits once ---------------------------------
RECOVERY_ROWS_MAX = CYCLE_ROWS_MAX
RECOVERY_BYTES_MAX = BLOCK_BYTES_MAX  # of rows, unpacked; those of a full cycle of reports are 4 MiB
RECOVERY_BLOCKS_MAX = 1_024  # of four rows each: some 0.3 s, while which the worker's other shards wait

FORMAT_MAX = 65_535  # of a block: two bytes
OFFSET_MAX = 2**53 - 1  # as the last offset of a range whose end nobody knows: exact in every JSON parser

# --- one shard's memory in the intake worker ------------------------------------------------------------
# Batches wait packed, as they came: each source in its own share of this, beyond which it alone waits, and a
# fetch.
BATCH_HELD_BYTES = 512  # measured: what a batch takes beside its payload
BUFFERED_BYTES_MAX = 24 * MIB
BUFFERED_SOURCE_BYTES_MIN = 256 * KIB  # the share of a source among very many
FETCH_BYTES_MAX = 1 * MIB  # of one partition
# Unpacked are the values of the cycle in hand (CYCLE_BYTES_MAX), while it is put together the batches that
# they come from (beyond this no further one is unpacked), and between two cycles what is left of the batches
# that were begun.
VALUE_HELD_BYTES = 56  # what a value takes beside its bytes
UNPACKED_BYTES_MAX = 32 * MIB
UNPACKED_KEPT_BYTES_MAX = 4 * MIB

# --- fairness between the sources of a shard ------------------------------------------------------------
FAIR_ROWS_S = 300  # of one source and shard, for a new platform: 4 shards take 1,200 reports/s of one app
FAIR_BURST_US = 1_000_000  # a batch has one timestamp: this much of the rate may come at once
ROWS_PER_DAY = 20_000_000  # of one app unless it is told otherwise: the whole city reports 16 million
ROWS_SHARE = 2  # a shard's part of the quota is 1/N of it, times this: people do not spread evenly

# --- time -----------------------------------------------------------------------------------------------
FUTURE_TOLERANCE_MS = 5 * 60 * 1000  # clocks of gates and phones differ by minutes, not by more
BROKER_AHEAD_MS_MAX = 60 * 60 * 1000  # a broker this far ahead of the worker would move shard time for good
BEHAVIOUR_MS_MAX = 24 * 60 * 60 * 1000  # from occurred_at to ended_at: a night's charging, a day's steps
LATE_WINDOW_DAYS = 9  # Beijing's MaaS makes transit records two days late, claimable for seven (2 + 7)
REMEMBERED_DAYS = LATE_WINDOW_DAYS + 1  # a trip across midnight may be claimed on the day before
CLOCK_YEAR_MAX = 9_900  # of a simulated clock: a lot issued then still expires on a date that can be counted
VALIDITY_YEARS_MAX = 10  # 深圳市碳普惠管理办法 Art. 22

assert CLOCK_YEAR_MAX + VALIDITY_YEARS_MAX < 9_999

# --- the archive ----------------------------------------------------------------------------------------
ARCHIVE_RUN_ROWS_MIN = 50_000  # an insert costs 1.7 us a row in 50,000-row blocks, 5 us in 4,000-row blocks
ARCHIVE_RUN_INTERVAL_MS = 5_000  # block time; the longest an archived row waits for its run to end

assert RECORD_BYTES_MAX < INTAKE_MESSAGE_BYTES_MAX <= CYCLE_BYTES_MAX
assert 2 * EVIDENCE_BYTES_MAX < RECORD_BYTES_MAX
assert INTAKE_MESSAGE_BYTES_MAX < BATCH_UNPACKED_BYTES_MAX
# Worst block: nothing of it can be compressed, every row with its columns, its texts and a detail.
assert CYCLE_BYTES_MAX + CYCLE_ROWS_MAX * 512 <= BLOCK_BYTES_MAX
assert BATCH_UNPACKED_BYTES_MAX <= UNPACKED_BYTES_MAX
assert INTAKE_MESSAGE_BYTES_MAX <= FETCH_BYTES_MAX
