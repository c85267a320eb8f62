ALTER TABLE device ADD COLUMN machine TEXT; -- JSON: what the machine it runs on is known by
