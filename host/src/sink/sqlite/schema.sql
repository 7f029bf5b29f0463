BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS messages (
    message_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL CONSTRAINT id CHECK (length(id) <= 255),
    sub_id TEXT NOT NULL CONSTRAINT sub_id CHECK (length(sub_id) <= 255),
    publisher_info TEXT,
    server_name TEXT NOT NULL DEFAULT 'MainServer' CONSTRAINT server_name CHECK (length(server_name) <= 100),
    message_content TEXT NOT NULL,
    is_encrypted BOOLEAN NOT NULL DEFAULT 0 CONSTRAINT is_encrypted CHECK (is_encrypted IN (0, 1)),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    source_message_id TEXT UNIQUE,
    encryption_key_id TEXT
);
CREATE INDEX IF NOT EXISTS idx_messages_id ON messages (id);
CREATE INDEX IF NOT EXISTS idx_messages_created_at ON messages (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_messages_id_created_at ON messages (id, created_at DESC);
CREATE VIEW IF NOT EXISTS recent_messages AS
SELECT
    message_id,
    id,
    sub_id,
    server_name,
    is_encrypted,
    CASE WHEN is_encrypted THEN '[ENCRYPTED]' ELSE substr(message_content, 1, 100) END AS content_preview,
    created_at
FROM messages
WHERE created_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day')
ORDER BY created_at DESC, message_id DESC;
COMMIT;
