-- The role that rows are written as: it owns nothing, and may insert and select. Run again it sets the password anew.
\getenv password WRITER_PASSWORD
SELECT 'CREATE ROLE tidegate_writer LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidegate_writer') \gexec
ALTER ROLE tidegate_writer PASSWORD :'password';

REVOKE ALL ON DATABASE rtmc FROM PUBLIC;
GRANT CONNECT ON DATABASE rtmc TO tidegate_writer;
GRANT USAGE ON SCHEMA public TO tidegate_writer;
GRANT INSERT, SELECT ON messages TO tidegate_writer;
