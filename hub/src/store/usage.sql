-- 课表 of each school: every version whole, the newest counts.
CREATE TABLE timetable (
    n INTEGER PRIMARY KEY, school TEXT NOT NULL, document TEXT NOT NULL,
    who TEXT NOT NULL, what TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX timetable_by_school ON timetable (school, n);

-- What each room is to go by, signed, and what it said of it.
CREATE TABLE desired (
    device TEXT PRIMARY KEY, revision INTEGER NOT NULL, document TEXT NOT NULL, given_ms INTEGER NOT NULL,
    said_revision INTEGER, said_state TEXT, said_detail TEXT, running INTEGER, said_ms INTEGER
) STRICT, WITHOUT ROWID;

-- 使用记录: what a room said by itself of a period; the first word stands, never overwritten.
CREATE TABLE usage (
    device TEXT NOT NULL, date TEXT NOT NULL, period TEXT NOT NULL,
    body TEXT NOT NULL, used TEXT NOT NULL, arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (device, date, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_date ON usage (date);
-- What people said of a period afterwards; only ever added to.
CREATE TABLE usage_word (
    n INTEGER PRIMARY KEY, device TEXT NOT NULL, date TEXT NOT NULL, period TEXT NOT NULL,
    body TEXT NOT NULL, who TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_word_by_period ON usage_word (device, date, period, n);
