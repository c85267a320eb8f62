-- The log of receipts as a Merkle tree, the chain heads that devices gave out, keys with from and until.
CREATE TABLE log_entry (                  -- only ever appended to
    n INTEGER PRIMARY KEY,                -- from 0, without a hole
    entry TEXT NOT NULL,                  -- the salted hash of the receipt
    salt TEXT                             -- forgotten together with its lesson
) STRICT;
CREATE TABLE log_node (                   -- hashes of all complete subtrees
    level INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_checkpoint (             -- what was signed of it; only ever appended to
    size INTEGER NOT NULL, key_id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (size, key_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE hub_key (                    -- every key this hub ever signed with, in order
    n INTEGER PRIMARY KEY, key TEXT NOT NULL,
    from_ms INTEGER NOT NULL, until_ms INTEGER,
    rotation TEXT                         -- signed by the key before; none in the first
) STRICT;
CREATE TABLE device_key (                 -- every key a device ever signed with, in order
    device TEXT NOT NULL, n INTEGER NOT NULL, key TEXT NOT NULL,
    how TEXT NOT NULL,                    -- first, rotated (signed by the one before), registered (by a person)
    from_ms INTEGER NOT NULL, until_ms INTEGER,
    rotation TEXT,
    PRIMARY KEY (device, n)
) STRICT, WITHOUT ROWID;
INSERT INTO device_key (device, n, key, how, from_ms)
    SELECT id, 1, key, 'first', added_ms FROM device WHERE key IS NOT NULL;
CREATE TABLE chain_head (                 -- as they came, only ever appended to until their lesson is deleted
    n INTEGER PRIMARY KEY,
    lesson TEXT NOT NULL, device TEXT NOT NULL, take INTEGER NOT NULL, bytes INTEGER NOT NULL,
    boot_id TEXT NOT NULL, mono_ms INTEGER NOT NULL,
    digest TEXT NOT NULL, document TEXT NOT NULL, arrived_ms INTEGER NOT NULL,
    standing TEXT,                        -- agrees, contradicts; NULL until its bytes are here
    UNIQUE (device, lesson, digest)
) STRICT;
CREATE INDEX chain_head_by_lesson ON chain_head (lesson, take, bytes);
CREATE TABLE finding (                    -- what the evidence contradicts; only ever appended to
    n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,
    lesson TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL,
    UNIQUE (lesson, what, detail)
) STRICT;
ALTER TABLE lesson ADD COLUMN prev TEXT;   -- the manifest its manifest names before itself
ALTER TABLE lesson ADD COLUMN key_id TEXT; -- the key that signed its manifest
UPDATE lesson SET prev = json_extract(manifest, '$.document.prev'),
    key_id = json_extract(manifest, '$.signature.key_id') WHERE manifest IS NOT NULL;
CREATE INDEX lesson_by_manifest ON lesson (manifest_sha256);
