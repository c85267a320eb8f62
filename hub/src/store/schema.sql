-- Schema 1. Times are Unix milliseconds by the hub's clock unless a column says otherwise.
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE session (token_sha256 TEXT PRIMARY KEY, who TEXT NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- A device's account and the hub's own knowledge of it; never rebuilt from retained topics.
CREATE TABLE device (
    id TEXT PRIMARY KEY,
    school TEXT NOT NULL,
    room TEXT NOT NULL,
    password_sha256 TEXT NOT NULL,
    added_ms INTEGER NOT NULL,
    key TEXT,                             -- pinned at its first lesson
    state TEXT, reason TEXT, state_ms INTEGER,
    seen_ms INTEGER,
    info TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,     -- rises when the device's own numbering starts anew
    high INTEGER NOT NULL DEFAULT 0       -- all events of this epoch up to here are stored
) STRICT, WITHOUT ROWID;

CREATE TABLE live (                       -- newest by arrival, whatever the device's clock says
    device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
    grp TEXT NOT NULL, ts INTEGER NOT NULL, vals TEXT NOT NULL, arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (device, grp)
) STRICT, WITHOUT ROWID;
CREATE TABLE sample (
    device TEXT NOT NULL, grp TEXT NOT NULL, ts INTEGER NOT NULL, vals TEXT NOT NULL,
    PRIMARY KEY (device, grp, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX sample_by_age ON sample (ts);

CREATE TABLE event (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    kind TEXT NOT NULL, ts INTEGER NOT NULL, body TEXT NOT NULL, arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (device, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE gap (                        -- numbers that will never come
    device TEXT NOT NULL, epoch INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
    PRIMARY KEY (device, epoch, from_seq, to_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE lesson (
    id TEXT PRIMARY KEY,
    school TEXT NOT NULL,
    device TEXT NOT NULL,
    started_ms INTEGER NOT NULL,          -- by the device's clock
    about TEXT NOT NULL,
    state TEXT NOT NULL,                  -- receiving, verifying, stored
    announced_ms INTEGER NOT NULL,
    manifest TEXT, manifest_sha256 TEXT,
    duration_ms INTEGER, bytes INTEGER,
    checked_ms INTEGER, check_result TEXT -- the last check of the stored bytes
) STRICT, WITHOUT ROWID;
CREATE INDEX lesson_by_time ON lesson (started_ms);
CREATE INDEX lesson_by_device ON lesson (device, started_ms);
CREATE TABLE part (
    lesson TEXT NOT NULL REFERENCES lesson(id), take INTEGER NOT NULL, n INTEGER NOT NULL,
    size INTEGER NOT NULL, sha256 TEXT NOT NULL, stored_ms INTEGER NOT NULL,
    read_back INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (lesson, take, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE receipt (                    -- only ever appended to
    log_index INTEGER PRIMARY KEY,
    lesson TEXT NOT NULL UNIQUE REFERENCES lesson(id),
    digest TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE view (                       -- who watched what, when
    n INTEGER PRIMARY KEY, lesson TEXT NOT NULL, who TEXT NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX view_by_lesson ON view (lesson, at_ms);
