-- Where a row comes from and what opens it. Both may be NULL: rows and programs from before know nothing of them.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS source_message_id TEXT;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS encryption_key_id TEXT;

-- Not partial, so that `ON CONFLICT (source_message_id) DO NOTHING` finds it without a WHERE. Rows without an id never conflict.
CREATE UNIQUE INDEX IF NOT EXISTS idx_messages_source_message_id ON messages (source_message_id);

COMMENT ON COLUMN messages.source_message_id IS 'Id of the message at its source; a redelivery with the same id is not stored again';
COMMENT ON COLUMN messages.encryption_key_id IS 'Id of the key that sealed message_content; NULL where it is in clear or in the original''s form';
