-- 告警. One row from the raising to the clearing of a problem; at most one of a kind stands at a time.
CREATE TABLE alarm (
    n INTEGER PRIMARY KEY,
    device TEXT NOT NULL, code TEXT NOT NULL,
    raised_ms INTEGER NOT NULL, detail TEXT NOT NULL,
    cleared_ms INTEGER,                   -- absent while it stands
    known_by TEXT, known_ms INTEGER       -- who said that it is being looked at, and when
) STRICT;
CREATE UNIQUE INDEX alarm_standing ON alarm (device, code) WHERE cleared_ms IS NULL;
CREATE INDEX alarm_by_time ON alarm (raised_ms);
ALTER TABLE device ADD COLUMN anew_ms INTEGER;        -- when it last began to number its events anew
ALTER TABLE device ADD COLUMN anew_known_ms INTEGER;  -- when somebody had looked into that
