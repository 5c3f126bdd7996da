"""Takes snapshots apart and puts them together again, with right checksums over wrong contents."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEGMENT_BYTES = 1 << 20


@dataclass
class SnapshotFile:
    """A snapshot as Python values; read and written with the standard library's tar, not with what is under test."""

    header: dict[str, Any]
    rows: dict[str, list[Any]]
    blobs: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SnapshotFile:
        with tarfile.open(path) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]
        header = json.loads(members["header.json"])
        rows: dict[str, list[Any]] = {table["name"]: [] for table in header["tables"]}
        for name in sorted(members):
            if name.startswith("tables/"):
                rows[name.split("/")[1]] += [json.loads(line) for line in members[name].split(b"\n")[:-1]]
        return cls(header, rows, {name.split("/")[1]: data for name, data in members.items() if name.startswith("blobs/")})

    def columns(self, table: str) -> list[str]:
        return next(entry["columns"] for entry in self.header["tables"] if entry["name"] == table)

    def set(self, table: str, row: int, **values: Any) -> None:
        """Change some values of one row."""
        for name, value in values.items():
            self.rows[table][row][self.columns(table).index(name)] = value

    def write(self, path: Path) -> Path:
        members = [("header.json", dump(self.header))]
        totals = {}
        for table, rows in self.rows.items():
            lines = [row if isinstance(row, bytes) else dump(row) for row in rows]
            members += [(f"tables/{table}/{number:08d}.jsonl", data) for number, data in enumerate(segments(lines), start=1)]
            totals[table] = {"rows": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
        members += [(f"blobs/{name}", data) for name, data in self.blobs.items()]
        before = archive(members)[: -2 * 512].rstrip(b"") if members else b""
        trailer = {
            "tables": totals,
            "blobs": {"count": len(self.blobs), "bytes": sum(map(len, self.blobs.values()))},
            "sha256": hashlib.sha256(before).hexdigest(),
        }
        path.write_bytes(archive([*members, ("trailer.json", dump(trailer))]))
        return path


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def segments(lines: list[bytes]) -> list[bytes]:
    found, pending = [], b""
    for line in lines:
        pending += line
        if len(pending) >= SEGMENT_BYTES:
            found.append(pending)
            pending = b""
    return [*found, pending] if pending else found


def archive(members: list[tuple[str, bytes]]) -> bytes:
    """A ustar archive with fixed metadata, ending after its two zero blocks."""
    out = io.BytesIO()
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o600, 0
        block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        # The standard library writes device numbers, which only devices need.
        block[329:345] = bytes(16)
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
        out.write(bytes(block) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)
