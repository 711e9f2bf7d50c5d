"""Whether the log of an XFS holds anything that a mount would replay, found out as the kernel does. Pure but for reads.

The log is a ring of 512-byte blocks, each with the number of the round it was written in. The head, where the next
record would go, is where that number falls; the log is clean where the record before the head says "unmounted".

Linux, fs/xfs/xfs_log_recover.c: xlog_find_head, xlog_find_zeroed, xlog_find_verify_log_record,
xlog_check_unmount_rec; records: fs/xfs/libxfs/xfs_log_format.h.
"""

from __future__ import annotations

import struct

import msgspec

from migrate.guest.filesystems.inprocess import Read

BLOCK = 512
_MAGIC = 0xFEEDBABE
_MAGIC_BYTES = struct.pack(">I", _MAGIC)
_UNMOUNT = 0x20
_BUFFERS = 8  # XLOG_MAX_ICLOGS
_HEADER_SIZE = 32 << 10  # XLOG_HEADER_CYCLE_SIZE: what one header block has room for
_NOT_A_LOG = "its log is damaged"


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """`why_not` says why a mount would do more than read, or is empty; `lsn` is where the log ends (round, block)."""

    why_not: str
    lsn: int = 0


class _Record(msgspec.Struct, frozen=True):
    """A record's header: its round, version, the bytes and operations in it, and the buffer's size."""

    cycle: int
    version: int
    length: int
    operations: int
    size: int

    @property
    def headers(self) -> int:
        """How many blocks its header takes (xlog_logrec_hblks)."""
        return -(-self.size // _HEADER_SIZE) if self.version & 2 and self.size > _HEADER_SIZE else 1

    @property
    def blocks(self) -> int:
        """How many blocks it takes in all."""
        return self.headers + -(-self.length // BLOCK)


def _parse_record(block: bytes) -> _Record:
    cycle, version, length = struct.unpack_from(">III", block, 4)
    (operations,) = struct.unpack_from(">I", block, 40)
    (size,) = struct.unpack_from(">I", block, 320)
    return _Record(cycle, version, length, operations, size)


def log_state(read: Read, start: int, size: int, version: int) -> LogState:
    """Return the state of the log in `size` bytes from `start` on. Raises DiskError as `read` does.

    `version` is the log's: 1 has records of at most 32 KiB, 2 of at most 256 KiB.
    """
    try:
        log = _Log(read, start, size // BLOCK, 18 if version == 2 else 15)
        if log.cycle(0) == 0:
            return LogState(why_not="", lsn=1 << 32)
        return log.state(log.head())
    except ValueError as error:
        return LogState(why_not=str(error))


class _Log:
    """A log of so many blocks, whose records take at most 2 to the power of `shift` bytes. Raises ValueError."""

    def __init__(self, read: Read, start: int, blocks: int, shift: int) -> None:
        if blocks < 1 << 9:
            raise ValueError("its log is smaller than any")
        self._read = read
        self._start = start
        self._blocks = blocks
        self._behind = min(blocks, _BUFFERS << (shift - 9))  # XLOG_TOTAL_REC_SHIFT
        self._record = 1 << (shift - 9)  # XLOG_REC_SHIFT

    def _at(self, block: int, count: int = 1) -> bytes:
        return self._read(self._start + block * BLOCK, count * BLOCK)

    def cycle(self, block: int) -> int:
        """Return the round in which a block was written (xlog_get_cycle)."""
        first, second = struct.unpack(">II", self._at(block)[:8])
        return int(second if first == _MAGIC else first)

    def head(self) -> int:
        """Return the block where the next record would go; 0 for both ends of the ring."""
        blocks, first, last = self._blocks, self.cycle(0), self.cycle(self._blocks - 1)
        if last == 0:
            if first != 1:
                raise ValueError(_NOT_A_LOG)
            return self._head_before_zeros()
        if first == last:
            head, stop = blocks, last - 1
        else:
            head, stop = self._cycle_start(blocks - 1, last), last
        hole = None
        if head >= self._behind:
            hole = self._find_cycle(head - self._behind, self._behind, stop)
        else:
            rest = self._behind - head
            hole = self._find_cycle(blocks - rest, rest, stop - 1)
            if hole is None:
                hole = self._find_cycle(0, head, stop)
        return self._after_record(head if hole is None else hole) % blocks

    def _head_before_zeros(self) -> int:
        """Return the head of a log that was not yet written to its end."""
        head = self._cycle_start(self._blocks - 1, 0)
        count = min(self._behind, head)
        start = head - count
        hole = self._find_cycle(start, count, 0)
        found = self._verify_record(start, head if hole is None else hole, 0)
        if found is None:
            raise ValueError(_NOT_A_LOG)
        return found

    def _cycle_start(self, last: int, cycle: int) -> int:
        """Return about the first block of a round, by halves (xlog_find_cycle_start)."""
        first = 0
        while last - first > 1:
            middle = (first + last) // 2
            if self.cycle(middle) == cycle:
                last = middle
            else:
                first = middle
        return last

    def _find_cycle(self, start: int, count: int, cycle: int) -> int | None:
        """Return the first of these blocks that is of a round (xlog_find_verify_cycle)."""
        for at in range(start, start + count, self._record):
            data = self._at(at, min(self._record, start + count - at))
            for number, (first, second) in enumerate(struct.iter_unpack(">II504x", data)):
                if cycle == (second if first == _MAGIC else first):
                    return at + number
        return None

    def _after_record(self, head: int) -> int:
        """Return the head, or the start of the last record where that was not written whole."""
        if head >= self._record:
            found = self._verify_record(head - self._record, head, 0)
            if found is None:
                raise ValueError(_NOT_A_LOG)
            return found
        found = self._verify_record(0, head, 0)
        if found is not None:
            return found
        blocks = self._blocks
        wrapped = self._verify_record(max(0, blocks - (self._record - head)), blocks, head)
        if wrapped is None:
            raise ValueError(_NOT_A_LOG)
        return head if wrapped == blocks else wrapped

    def _verify_record(self, start: int, last: int, extra: int) -> int | None:
        """Return `last` or the start of the record that it is in the middle of (xlog_find_verify_log_record).

        None where no record starts before it, and `start` is the first block of all.
        """
        data = self._at(start, last - start) if last > start else b""
        for number in range(last - start - 1, -1, -1):
            if data.startswith(_MAGIC_BYTES, number * BLOCK):
                record = _parse_record(data[number * BLOCK : (number + 1) * BLOCK])
                whole = last - (start + number) + extra == record.blocks
                return last if whole else start + number
        if start == 0:
            return None
        raise ValueError(_NOT_A_LOG)

    def state(self, head: int) -> LogState:
        """Tell whether the record before the head is that of an unmount, and nothing but (xlog_check_unmount_rec)."""
        at = self._last_header(range(head, 0, -self._record), 0)
        wrapped = at is None
        if at is None:
            at = self._last_header(range(self._blocks, head, -self._record), head)
        if at is None:
            raise ValueError(_NOT_A_LOG)
        record = _parse_record(self._at(at))
        lsn = (record.cycle + wrapped) << 32 | head
        if head == (at + record.blocks) % self._blocks and record.operations == 1:
            operation = self._at((at + record.headers) % self._blocks)
            if operation[9] & _UNMOUNT:
                return LogState(why_not="", lsn=lsn)
        return LogState(why_not="its log must be replayed: it was not unmounted cleanly", lsn=lsn)

    def _last_header(self, ends: range, lowest: int) -> int | None:
        for end in ends:
            start = max(lowest, end - self._record)
            data = self._at(start, end - start)
            for number in range(end - start - 1, -1, -1):
                if data.startswith(_MAGIC_BYTES, number * BLOCK):
                    return start + number
        return None
