-- Tokens, which rooms enrol with, and the certificates they get.
ALTER TABLE device ADD COLUMN certified INTEGER NOT NULL DEFAULT 0; -- enrolled by a token: it shows its certificate
ALTER TABLE device ADD COLUMN retired_ms INTEGER;                   -- a person took it out of use

CREATE TABLE token (
    token TEXT PRIMARY KEY,               -- its name on the network
    code TEXT,                            -- as printed; gone when it is no longer good for anything
    school TEXT NOT NULL, device TEXT NOT NULL, room TEXT NOT NULL,
    uses INTEGER NOT NULL,                -- that are left
    made_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms INTEGER, used_key TEXT        -- the last use, and the signing key of the device that made it
) STRICT, WITHOUT ROWID;

CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
    issued_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL,
    retired_ms INTEGER, why TEXT          -- refused since then: renewed, replaced, retired
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_by_device ON certificate (device);
