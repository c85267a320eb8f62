-- Schema 2: what happens to a lesson after it was stored, and what is reported from rooms.
ALTER TABLE lesson ADD COLUMN amended_ms INTEGER;   -- when the device says 课题 were added, by its clock
ALTER TABLE lesson ADD COLUMN submitted TEXT;       -- what it was put forward for, as JSON
ALTER TABLE lesson ADD COLUMN discarded_ms INTEGER; -- when its teacher threw it away: no bytes from then on

CREATE TABLE addition (                   -- as its device signed it; the lesson itself may come later
    lesson TEXT NOT NULL, device TEXT NOT NULL, kind TEXT NOT NULL,
    epoch INTEGER NOT NULL, seq INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (lesson, device, kind, epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE repair (                     -- 报修: one row a ticket, however often it was sent
    device TEXT NOT NULL, id TEXT NOT NULL,
    asked_ms INTEGER NOT NULL, text TEXT NOT NULL, condition TEXT NOT NULL,
    state TEXT NOT NULL,                  -- open, doing, done
    PRIMARY KEY (device, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX repair_by_time ON repair (state, asked_ms);
CREATE TABLE audit (                      -- who changed what in the console; only ever appended to
    n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,
    who TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (what, subject, n);
