-- The document's views. One that exists with the same columns is replaced in place; with other columns it is made anew and keeps its
-- grants; and where something else is built on it, it is left alone.
DO $$
DECLARE
    wanted record;
    view_oid oid;
    grants text[];
    statement text;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('recent_messages', $view$
                SELECT
                    message_id, id, sub_id, server_name, is_encrypted, created_at,
                    CASE WHEN is_encrypted THEN '[ENCRYPTED]' ELSE left(message_content, 100) END AS content_preview
                FROM messages
                WHERE created_at >= now() - interval '24 hours'
                ORDER BY created_at DESC, message_id DESC
            $view$),
            ('message_statistics', $view$
                SELECT
                    date(created_at) AS message_date, server_name, is_encrypted,
                    count(*) AS message_count, count(DISTINCT id) AS unique_users,
                    min(created_at) AS first_message, max(created_at) AS last_message
                FROM messages
                GROUP BY date(created_at), server_name, is_encrypted
                ORDER BY message_date DESC, server_name, is_encrypted
            $view$)
        ) AS views (name, query)
    LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE VIEW %I AS %s', wanted.name, wanted.query);
            CONTINUE;
        EXCEPTION WHEN invalid_table_definition THEN
            NULL;
        END;
        view_oid := to_regclass(wanted.name);
        grants := ARRAY(
            SELECT format('GRANT %s ON %I TO %s%s', privilege_type, wanted.name,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_class, aclexplode(relacl)
            WHERE pg_class.oid = view_oid AND grantee <> relowner
        );
        BEGIN
            EXECUTE format('DROP VIEW %I', wanted.name);
            EXECUTE format('CREATE VIEW %I AS %s', wanted.name, wanted.query);
            FOREACH statement IN ARRAY grants LOOP
                EXECUTE statement;
            END LOOP;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE WARNING 'view % is left as it was: something else is built on it', wanted.name;
        END;
    END LOOP;
END
$$;

-- The document's clean-up, which on 0 deleted everything.
DO $$
DECLARE
    body constant text := $create$
        CREATE OR REPLACE FUNCTION cleanup_old_messages(days_to_keep INTEGER DEFAULT 30) RETURNS INTEGER LANGUAGE plpgsql AS $function$
        DECLARE
            deleted bigint;
        BEGIN
            IF days_to_keep IS NULL OR days_to_keep < 1 THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'invalid_parameter_value',
                    MESSAGE = format('cleanup_old_messages keeps at least 1 day, not %s', coalesce(days_to_keep::text, 'NULL')),
                    HINT = 'To delete every message use TRUNCATE.';
            END IF;
            -- Nothing is a million days old, and time does not reach much further back.
            DELETE FROM messages WHERE created_at < now() - make_interval(days => least(days_to_keep, 1000000));
            GET DIAGNOSTICS deleted = ROW_COUNT;
            RETURN least(deleted, 2147483647);
        END
        $function$
    $create$;
BEGIN
    EXECUTE body;
EXCEPTION WHEN invalid_function_definition THEN
    -- One with another result or parameter name.
    DROP FUNCTION cleanup_old_messages(INTEGER);
    EXECUTE body;
END
$$;

COMMENT ON FUNCTION cleanup_old_messages(INTEGER) IS 'Deletes messages older than so many days, at least 1, and returns how many';
