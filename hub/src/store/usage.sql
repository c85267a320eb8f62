-- 使用记录: one row a device, day and period, as lectern_wire::usage says it. What the room saw is written once; the
-- newest word of a person stands beside it.
CREATE TABLE usage (
    device TEXT NOT NULL, date TEXT NOT NULL, period TEXT NOT NULL,
    school TEXT NOT NULL, room TEXT NOT NULL,    -- as they were when the row came first
    auto TEXT,                                   -- JSON; absent where only a person says something
    said TEXT, said_ms INTEGER, said_at TEXT,    -- JSON, when, and where: room, hub
    arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (device, date, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (school, date);

-- Another machine that came with a device's id and password: its marks (JSON), and when it was refused last.
ALTER TABLE device ADD COLUMN other_marks TEXT;
ALTER TABLE device ADD COLUMN other_ms INTEGER;
