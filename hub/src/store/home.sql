-- The state volume of each device as it last said it, and what was made of it. A device forgets when its volume is restored.
CREATE TABLE home (
    device TEXT PRIMARY KEY, volume TEXT NOT NULL, boots INTEGER NOT NULL, boot_id TEXT NOT NULL,
    verdict TEXT NOT NULL, seen_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL             -- when this volume was first seen
) STRICT, WITHOUT ROWID;
