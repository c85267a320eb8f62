-- Lessons may be at an S3 store.
ALTER TABLE lesson ADD COLUMN kind TEXT NOT NULL DEFAULT 'file'; -- what holds its bytes: file, s3; decided when it is announced
ALTER TABLE part ADD COLUMN etag TEXT;                           -- the S3 store's name for a part's bytes
-- What the hub has at the S3 store of a lesson's takes: from before an upload takes parts until its object is deleted.
CREATE TABLE object (
    lesson TEXT NOT NULL REFERENCES lesson(id), take INTEGER NOT NULL,
    object_key TEXT NOT NULL, upload TEXT NOT NULL, begun_ms INTEGER NOT NULL,
    hashes INTEGER NOT NULL,              -- whether the store was asked to keep each part's hash
    PRIMARY KEY (lesson, take)
) STRICT, WITHOUT ROWID;
