-- Rights on personal data for a ClickHouse with users of its own (the embedded server has none). Run it as an administrator, grant
-- the roles to your users, and run it again after an upgrade. What reads personal values needs the master key beside these rights.
--
--   clickhouse-client --multiquery < deploy/clickhouse/roles.sql
--   GRANT streamproc_archive TO streamproc;        -- whom the workers log in as
--   GRANT streamproc_personal TO somebody;         -- streamproc personal show, streamproc dead-letters show and replay
--   GRANT streamproc_erasure TO somebody_else;     -- streamproc personal destroy
--
-- Users of dashboards get none of these: without a right on `keys` they see tokens, whatever else they may read.

CREATE DATABASE IF NOT EXISTS keys;

-- Archive workers: make the tables, make keys, see what was destroyed. They delete nothing.
CREATE ROLE IF NOT EXISTS streamproc_archive;
GRANT SELECT, INSERT, CREATE DATABASE, CREATE TABLE ON keys.* TO streamproc_archive;

-- Reading in clear.
CREATE ROLE IF NOT EXISTS streamproc_personal;
GRANT SELECT ON keys.* TO streamproc_personal;
GRANT SELECT ON silver.* TO streamproc_personal;
GRANT SELECT ON gold.* TO streamproc_personal;
GRANT SELECT ON meta.dead_letters TO streamproc_personal;
GRANT SELECT, INSERT ON meta.dead_letter_replays TO streamproc_personal;

-- Destroying keys: no right to read what is stored of anybody.
CREATE ROLE IF NOT EXISTS streamproc_erasure;
GRANT SELECT ON keys.* TO streamproc_erasure;
GRANT INSERT ON keys.destroyed TO streamproc_erasure;
GRANT ALTER DELETE ON keys.user_keys TO streamproc_erasure;
