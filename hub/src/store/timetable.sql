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
