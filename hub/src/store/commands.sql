-- Commands given to devices, and what became of each; only ever added to and advanced.
CREATE TABLE command (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,              -- 16 hexadecimal digits
    device TEXT NOT NULL,
    verb TEXT NOT NULL,                   -- its name
    document TEXT NOT NULL,               -- JSON, signed by this hub
    given_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    state TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '', state_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX command_by_device ON command (device, n);
